"""The formulas of heirloom/estimates against what they describe: fake tensors of full shapes, DeepSpeed's real engine.

Fake tensors have shapes and storages of a size and no content, so a pass of a model of 8 billion weights through
transformers' and TRL's own code can be followed here, tensor by tensor.
"""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from live_tensors import RANK, live_passes
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from heirloom.estimates.deepspeed_settings import DeepSpeedSettings, settings_of
from heirloom.estimates.model_passes import Passes
from heirloom.estimates.model_shape import FAMILIES, ModelShape, model_shape
from heirloom.estimates.stored_bytes import resuming_state
from heirloom.estimates.training_memory import TrainingSetup, model_states, training_phases

LLAMA3_8B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
LLAMA3_70B = LLAMA3_8B | {
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
}  # fmt: skip
GEMMA3_1B = {
    "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152, "intermediate_size": 6912,
    "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
    "tie_word_embeddings": True,
}  # fmt: skip
MEDIUM = {
    "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32,
}  # fmt: skip


def shape_of(config: dict) -> ModelShape:
    shape = model_shape(config)
    assert isinstance(shape, ModelShape)
    return shape


CASES = [
    # model, layers, tokens, loss, checkpointing, adapter
    (LLAMA3_8B, 12, (4, 2048), "tiled", True, False),
    (LLAMA3_8B, 4, (1, 2048), "whole", False, False),
    (LLAMA3_8B, 4, (2, 1024), "tiled", False, True),
    (LLAMA3_8B, 8, (4, 1024), "tiled", True, True),
    (LLAMA3_70B, 4, (1, 4096), "whole", True, True),
    (LLAMA3_70B, 3, (2, 2048), "whole", False, False),
    (LLAMA3_70B, 4, (2, 2048), "tiled", True, False),
    (LLAMA3_8B, 8, (4, 1024), "pairs", True, True),
    (GEMMA3_1B, 13, (2, 2048), "tiled", False, False),
    (GEMMA3_1B, 13, (2, 1024), "tiled", False, True),
    (GEMMA3_1B, 13, (16, 1024), "tiled", True, True),
]


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize(("config", "layers", "tokens", "loss", "checkpointing", "adapter"), CASES)
def test_passes_hold_what_the_formula_says(config, layers, tokens, loss, checkpointing, adapter, monkeypatch):
    config = config | {"num_hidden_layers": layers}
    shape = shape_of(config)
    found = live_passes(config, tokens, loss, checkpointing, adapter, monkeypatch)
    passes = Passes(shape, tokens[0] * tokens[1], 2, frozen=adapter, rank=RANK * adapter, adapted=7 * adapter)
    # log-probabilities are kept too, in 32 bits; of ORPO the scores themselves
    scores = {"whole": 4, "pairs": 2, "tiled": 0}[loss] * shape.vocabulary * passes.tokens
    assert found["kept"] == pytest.approx(passes.kept(checkpointing) + scores, rel=0.05)

    setup = TrainingSetup(
        shape, DeepSpeedSettings(stage=2, present=True, reduce_bucket=0), 1, passes.tokens, 2, checkpointing,
        adapter=shape.adapter(RANK, None) if adapter else None, rank=RANK * adapter, adapted=7 * adapter, loss=loss,
    )  # fmt: skip
    phases = training_phases(setup)
    # nothing shards gradients here: all of them are there at the end of the pass, and all but two in the first block
    first_block = found["gradients"] - 2 * (shape.embedding + shape.layer) + passes.through_a_layer(checkpointing)
    highest = max(phases["scores"], phases["layers"], *(() if adapter else (found["gradients"], first_block)))
    assert found["peak"] == pytest.approx(highest, rel=0.10)


def test_states_are_those_of_the_real_engine_at_three_sizes(tmp_path):
    program = Path(__file__).with_name("engine_states.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program), str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"stage"')]
    assert len(rows) == 7 * 3
    for row in rows:
        zero = {"stage": row["stage"], "reduce_bucket_size": 1000}
        settings = settings_of(
            {"zero_optimization": zero} | ({"data_types": {"grad_accum_dtype": "fp32"}} if row["fp32"] else {}), 64
        )
        setup = TrainingSetup(Weights(row["weights"]), settings, ranks=2, tokens=0, d=2)
        assert sum(model_states(setup).gpu.values()) == pytest.approx(row["bytes"], rel=0.10), row
    for small, large in pairwise(rows):  # the files of a checkpoint have some 40 kB that no weight makes larger
        if (small["stage"], small["fp32"]) == (large["stage"], large["fp32"]):
            settings = settings_of({"zero_optimization": {"stage": small["stage"]}}, 64)
            weights = Weights(large["weights"] - small["weights"])
            found = resuming_state(TrainingSetup(weights, settings, ranks=2, tokens=0, d=2))
            assert found == pytest.approx(large["saved"] - small["saved"], rel=0.01), large


class Weights:
    """A shape of which nothing counts but the number of its weights."""

    def __init__(self, parameters: int) -> None:
        self.parameters = parameters


def test_defaults_are_deepspeeds_own():
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    for stage in (1, 2, 3):
        theirs, ours = DeepSpeedZeroConfig(stage=stage), settings_of({"zero_optimization": {"stage": stage}}, 64)
        assert (ours.reduce_bucket, ours.overlap, ours.contiguous) == (
            theirs.reduce_bucket_size, theirs.overlap_comm, theirs.contiguous_gradients,
        )  # fmt: skip
        assert (ours.prefetch_bucket, ours.live_parameters) == (theirs.prefetch_bucket_size, theirs.max_live_parameters)
    auto = {"stage": 3, "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}
    assert settings_of({"zero_optimization": auto}, 100).reduce_bucket == 10_000


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("sizes", [{}, MEDIUM])
def test_weights_are_counted_as_transformers_makes_them(kind, sizes):
    """With the defaults of a model type and with sizes of one's own; FLOPs within 2 % of torch's own count."""
    config = AutoConfig.for_model(kind, **sizes)
    with FakeTensorMode() if sizes else torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="eager")
    shape = shape_of({"model_type": kind, **sizes})
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    assert shape.linear == sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name
    )
    if not sizes:
        return
    with FlopCounterMode(display=False) as counter, FakeTensorMode(allow_non_fake_inputs=True):
        ids = torch.zeros(1, 256, dtype=torch.long)
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.sum().backward()
    assert shape.flops().per_token(256) * 256 == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_what_is_not_known_is_said():
    assert "t5 is not among" in str(model_shape({"model_type": "t5"}))
    assert model_shape({"model_type": "llama", "hidden_size": 8}) == "a llama of width 8 cannot have 32 heads"
    assert "no whole numbers" in str(model_shape({"model_type": "llama", "hidden_size": "8"}))
    assert "mixture of experts" in str(model_shape({"model_type": "llama", "num_local_experts": 4}))
