"""FLOPs a token against numbers by hand, peaks by the names that CUDA gives, and the line that states the MFU."""

from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, T5Config, TrainerCallback, TrainerState

from heirloom.estimates.model_flops import ModelFlops, peak_flops
from heirloom.training.callbacks.model_flops import Utilization, attention_size, model_flops
from heirloom.training.callbacks.progress import Progress
from heirloom.training.callbacks.throughput import Moment, Throughput
from heirloom.training.callbacks.trackers import AveragedLogs


def llama(**keys) -> LlamaForCausalLM:
    """A model of 2 layers of 8, heads of 4, a vocabulary of 10, key and value of one head."""
    config = LlamaConfig(
        vocab_size=10,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        **keys,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)


LAYER = (8 * 8 + 8 * 4 + 8 * 4 + 8 * 8) + 3 * 8 * 16 + 2 * 8
"""q, k, v, o; gate, up, down; two norms."""
BODY = 2 * LAYER + 8
HEAD = 10 * 8


def test_the_input_embedding_is_a_lookup_unless_it_is_the_output_layer_too():
    assert model_flops(llama(tie_word_embeddings=False)).weights == BODY + HEAD
    assert model_flops(llama(tie_word_embeddings=True)).weights == BODY + HEAD
    assert model_flops(llama()).attention == 2 * 2 * 4


def test_training_everything_is_palms_formula():
    flops = ModelFlops(weights=1000, trained=1000, attention=16)
    assert flops.per_token(32) == 6 * 1000 + 12 * 16 * 32


def test_frozen_weights_cost_four_and_an_adapters_six():
    model = llama(tie_word_embeddings=False)
    for parameter in model.parameters():
        parameter.requires_grad = False
    adapter = torch.nn.Linear(8, 4, bias=False, device="meta")
    model.model.layers[0].adapter = adapter
    flops = model_flops(model)
    assert (flops.weights, flops.trained) == (BODY + HEAD + 32, 32)
    assert flops.per_token(0) == 4 * (BODY + HEAD) + 6 * 32


def test_a_reference_model_adds_its_forward_pass():
    alone, with_reference = (ModelFlops(100, 100, 5, reference).per_token(7) for reference in (False, True))
    assert with_reference - alone == 2 * 100 + 4 * 5 * 7


def test_the_convention_is_not_stretched_to_models_that_it_does_not_cover():
    assert attention_size(MixtralConfig()) is None and attention_size(T5Config()) is None


@pytest.mark.parametrize(
    ("gpu", "tera"),
    [
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA A10G", 70),
        ("NVIDIA A10", 125),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362.05),
        ("Tesla V100-SXM2-16GB", 125),
        ("NVIDIA L40", None),
        ("NVIDIA A100X", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_peaks_by_name(gpu, tera):
    assert peak_flops(gpu) == (None if tera is None else tera * 1e12)


class Shown(TrainerCallback):
    """Stands for a tracker: keeps what it was given last."""

    def on_log(self, args, state, control, logs, **kwargs):
        self.logs = logs


def test_line_trackers_and_file_state_the_speed_and_the_share_of_the_peak(monkeypatch, capsys, tmp_path):
    """8 sequences of 32 tokens a step; 2 steps in 4 s, so 128 tokens/s, of 12,144 FLOPs each on 10 MFLOP/s."""
    flops = ModelFlops(weights=1000, trained=1000, attention=16)
    measure = Utilization(flops, peak=10e6, sequences_per_step=8)
    assert measure.mfu(256, 128) == 128 * 12144 / 10e6
    assert "6 × 1,000 trained weights + attention (12·L·H·Q·T), by PaLM's appendix B" in str(measure)

    throughput = Throughput()
    throughput.utilization = measure
    shown = AveragedLogs(Shown(), every=2, throughput=throughput)
    callbacks = (throughput, Progress(every=2, first=False, throughput=throughput), shown)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    state, place = TrainerState(max_steps=4), SimpleNamespace(output_dir=str(tmp_path))

    def logged(time: float, step: int, **logs: float) -> None:
        now[0], state.global_step, state.num_input_tokens_seen = time, step, 256 * step
        for callback in callbacks:
            callback.on_log(place, state, None, logs=logs)

    def begun() -> None:
        for callback in callbacks:
            callback.on_step_begin(place, state, None)

    begun()
    logged(2.0, 1, loss=3.0)
    logged(102.0, 1, eval_loss=2.0)  # takes 100 s, which are no part of the speed
    begun()
    logged(104.0, 2, loss=2.0, learning_rate=1e-4)
    line = capsys.readouterr().out.splitlines()[-1]
    start, _, memory = line.partition("MFU 15.5 %  memory ")
    assert start == "step 2/4  loss 2.5000  lr 1.00e-04  256 tokens/step  128 tokens/s  "
    assert 0.1 < float(memory.split()[0]) < 100  # GiB of this process
    figures = {"loss": 2.5, "tokens_per_second": 128, "mfu_percent": 100 * 128 * 12144 / 10e6}
    assert shown.callback.logs.items() >= figures.items()

    throughput.on_save(place, state, None)
    rows = [line.split(",") for line in (tmp_path / "throughput.csv").read_text().splitlines()]
    assert rows[0] == ["step", "seconds", "tokens", "tokens_per_second", "peak_memory_gib", "mfu_percent"]
    assert [row[:4] for row in rows[1:]] == [["1", "2.0", "256", "128.0"], ["2", "4.0", "512", "128.0"]]
    state.global_step = 1  # the machine was lost after it had gone on from another checkpoint
    again = Throughput()
    again.on_step_begin(place, state, None)
    assert (again.now, len(again.rows)) == (Moment(1, 2.0, 512), 1)


def test_a_long_training_keeps_few_rows_and_its_seconds_over_an_interruption(tmp_path, monkeypatch):
    """2,500 steps of a second each make rows of 3 steps; it goes on after step 1,000, in the middle of such a row."""
    now, place = [0.0], SimpleNamespace(output_dir=str(tmp_path))
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for first, last in ((1, 1000), (1001, 2500)):
        state, throughput = TrainerState(max_steps=2500, global_step=first - 1), Throughput()
        state.num_input_tokens_seen = 10 * state.global_step
        throughput.on_step_begin(place, state, None)
        for step in range(first, last + 1):
            now[0] += 1
            state.global_step, state.num_input_tokens_seen = step, 10 * step
            throughput.on_log(place, state, None, logs={"loss": 1.0})
        throughput.on_save(place, state, None)
        now[0] += 1000  # until it is started again
    rows = [dict(zip(("step", "seconds", "tokens", "speed"), map(float, line.split(",")), strict=False))
            for line in (tmp_path / "throughput.csv").read_text().splitlines()[1:]]  # fmt: skip
    assert len(rows) == 835 and [row["step"] for row in rows[:2]] == [3, 6]
    assert all(row["seconds"] == row["step"] and row["speed"] == 10 for row in rows)
