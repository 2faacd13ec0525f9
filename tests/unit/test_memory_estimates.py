"""The formulas of heirloom/estimates against what they describe: fake tensors of full shapes, DeepSpeed's real engine.

Fake tensors have shapes and storages of a size and no content, so a pass of a model of 8 billion weights through
transformers' and TRL's own code can be followed here, tensor by tensor.
"""

import json
import subprocess
import sys
import weakref
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from heirloom.estimates.deepspeed_settings import DeepSpeedSettings, settings_of
from heirloom.estimates.model_passes import Passes
from heirloom.estimates.model_shape import FAMILIES, ModelShape, model_shape
from heirloom.estimates.stored_bytes import resuming_state
from heirloom.estimates.training_memory import TrainingSetup, model_states, training_phases
from heirloom.training.losses.odds_ratio_loss import odds_ratio_summary, pair_scores

LLAMA3_8B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
LLAMA3_70B = LLAMA3_8B | {
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
}  # fmt: skip
MEDIUM = {
    "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32,
}  # fmt: skip
RANK = 16


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that live, and their greatest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, weakref.ref] = {}
        self.now = self.peak = 0

    def see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:

            def gone(_: object) -> None:
                del self.known[key]
                self.now -= size

            self.known[key] = weakref.ref(storage, gone)
            self.now += size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor):
                self.see(value)
        self.peak = max(self.peak, self.now)
        return out


def shape_of(config: dict) -> ModelShape:
    shape = model_shape(config)
    assert isinstance(shape, ModelShape)
    return shape


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's kernels as on CUDA: they change a tile in place, and add a product to 32-bit sums without a copy."""
    from trl.kernels import chunked_logprob

    for name in ("_forward_tile", "_backward_tile", "_addmm_fp32"):
        monkeypatch.setattr(chunked_logprob, name, lambda *_, **__: None)


def live_passes(config: dict, tokens: tuple[int, int], loss: str, checkpointing: bool, adapter: bool) -> dict[str, int]:
    """Follow a forward and a backward pass of a bfloat16 model; return bytes beside its weights and their gradients.

    `kept` is what the forward pass leaves, `peak` the greatest sum of all.
    """
    live = LiveBytes()
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.init, "_no_grad_normal_", lambda tensor, *_, **__: tensor)
        torch.set_default_dtype(torch.bfloat16)
        try:
            given = {key: value for key, value in config.items() if key != "model_type"}
            model = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(config["model_type"], **given), attn_implementation="sdpa"
            )
            base = model
            if adapter:
                from peft import LoraConfig, get_peft_model

                with pytest.MonkeyPatch.context() as inner:  # fake parameters cannot be moved, and need not
                    inner.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
                    lora = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
                    model = get_peft_model(model, lora, autocast_adapter_dtype=False)
        finally:
            torch.set_default_dtype(torch.float32)
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            if adapter:
                model.enable_input_require_grads()
        if loss == "tiled":
            from trl.trainer.utils import add_fused_lm_head

            add_fused_lm_head(base)
        with live:
            for weight in model.parameters():
                live.see(weight)
            weights = live.now
            ids = torch.zeros(tokens, dtype=torch.long)
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids, "use_cache": False}
            if loss == "tiled":
                total = model(**inputs, fused_lm_head=True).log_probs.sum()
            elif loss == "pairs":
                logits = model(**inputs | {"labels": None}).logits
                total = odds_ratio_summary(pair_scores(logits, ids, torch.ones_like(ids), ids), 0.1)["loss"]
                del logits
            else:
                total = model(**inputs).loss
            kept = live.now - weights
            total.backward()
            gradients = sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)
    return {"kept": kept, "peak": live.peak - weights, "gradients": gradients}


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
]


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize(("config", "layers", "tokens", "loss", "checkpointing", "adapter"), CASES)
def test_passes_hold_what_the_formula_says(config, layers, tokens, loss, checkpointing, adapter):
    config = config | {"num_hidden_layers": layers}
    shape = shape_of(config)
    found = live_passes(config, tokens, loss, checkpointing, adapter)
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
