"""The bytes of tensors that live while a model's passes run: the oracle of the memory formulas."""

import weakref

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from heirloom.estimates.model_shape import PROJECTIONS
from heirloom.training.losses.odds_ratio_loss import odds_ratio_summary, pair_scores

RANK = 16
"""Of adapters, on all linear layers."""


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


def fake_model(config: dict, loss: str, adapter: bool, monkeypatch) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return a bfloat16 model without content, and what is around it where an adapter is trained."""
    monkeypatch.setattr(torch.nn.init, "_no_grad_normal_", lambda tensor, *_, **__: tensor)
    kind = AutoModelForSequenceClassification if loss == "number" else AutoModelForCausalLM
    head = {"num_labels": 1, "pad_token_id": 0} if loss == "number" else {}
    given = {key: value for key, value in config.items() if key != "model_type"} | head
    torch.set_default_dtype(torch.bfloat16)
    try:
        base = kind.from_config(AutoConfig.for_model(config["model_type"], **given), attn_implementation="sdpa")
        if not adapter:
            return base, base
        from peft import LoraConfig, get_peft_model

        monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)  # fake parameters need not be moved
        lora = LoraConfig(r=RANK, target_modules=list(PROJECTIONS))
        return base, get_peft_model(base, lora, autocast_adapter_dtype=False)
    finally:
        torch.set_default_dtype(torch.float32)
        monkeypatch.undo()


def loss_of(model: torch.nn.Module, loss: str, ids: torch.Tensor, packed: bool) -> torch.Tensor:
    """Return a method's loss of rows of tokens, as its trainer computes it; of pairs the chosen halves come first.

    `packed`: the rows lie behind each other in one, and their positions begin anew.
    """
    half = len(ids) // 2
    if packed:
        positions = torch.arange(ids.shape[1]).repeat(len(ids))[None]
        inputs = {"input_ids": ids.reshape(1, -1), "position_ids": positions, "use_cache": False}
    else:
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    labels = inputs["input_ids"]
    if loss == "tiled":
        return model(**inputs, labels=labels, fused_lm_head=True).log_probs.sum()
    if loss == "preference":
        scores = model(**inputs, labels=labels, fused_lm_head=True).log_probs.sum(-1)
        return -torch.nn.functional.logsigmoid(0.1 * (scores[:half] - scores[half:])).mean()
    if loss == "pairs":
        logits = model(**inputs).logits
        total = odds_ratio_summary(pair_scores(logits, ids, torch.ones_like(ids), ids), 0.1)["loss"]
        del logits
        return total
    if loss == "number":
        scores = model(**inputs).logits
        return -torch.nn.functional.logsigmoid(scores[:half] - scores[half:]).mean()
    return model(**inputs, labels=labels).loss


def live_passes(
    config: dict,
    rows: tuple[int, int],
    loss: str,
    checkpointing: bool,
    adapter: bool,
    monkeypatch,
    packed: bool = False,
) -> dict[str, int]:
    """Follow a forward and a backward pass of a bfloat16 model; return bytes beside its weights and their gradients.

    `kept` is what the forward pass leaves, `peak` the greatest sum of all.
    """
    live = LiveBytes()
    with FakeTensorMode(allow_non_fake_inputs=True):
        with monkeypatch.context() as inner:
            base, model = fake_model(config, loss, adapter, inner)
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            if adapter:
                model.enable_input_require_grads()
        if loss in ("tiled", "preference"):
            from trl.trainer.utils import add_fused_lm_head

            add_fused_lm_head(base)
        with live:
            for weight in model.parameters():
                live.see(weight)
            weights = live.now
            total = loss_of(model, loss, torch.zeros(rows, dtype=torch.long), packed)
            kept = live.now - weights
            total.backward()
            gradients = sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)
    return {"kept": kept, "peak": live.peak - weights, "gradients": gradients}
