"""Attention of packed rows on a GPU: each document by itself, where the machine and the model allow it.

transformers' sdpa computes a packed row as one rectangle (T, T) and masks what lies between documents. torch's kernel
of variable length (varlen_kernel.py) goes through each document alone. Where it cannot be used flash-attn is, if it is
installed; else sdpa stays, and the log says why. An `attn_implementation` of the run decides instead.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel, TrainingArguments
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import is_flash_attn_2_available

from heirloom.distributed import on_cpu, on_every_rank, say
from heirloom.models.language_models import without_adapter
from heirloom.training.batches.varlen_kernel import OLDEST, borders_of, by_kernel, other_form, wrong_here

VARLEN = "torch_varlen"
"""Its name among transformers' implementations of attention."""
HALF = (torch.bfloat16, torch.float16)
OF_ANOTHER = "another rank cannot use torch's kernel of variable length"


def attend_by_document(model: PreTrainedModel, args: TrainingArguments, asked: str | None) -> None:
    """Let a model that trains on packed rows attend to each document by itself, where this GPU can; say which way.

    `asked`: the run's `attn_implementation`, which is obeyed. Nothing happens on a CPU. Every rank calls it.
    """
    if asked is not None or on_cpu():
        return
    reason = obstacle(model, args)
    if on_every_rank({VARLEN} if reason is None else ()):
        use(model, VARLEN)
        way = "goes through each document by itself, by torch's kernel of variable length"
    elif with_flash_attention(model, args):
        way = f"goes through each document by itself, by flash-attn: {reason or OF_ANOTHER}"
    else:
        way = f"computes whole rows and masks what lies between documents: {reason or OF_ANOTHER}"
    say(f"packed rows: attention {way}")


def with_flash_attention(model: PreTrainedModel, args: TrainingArguments) -> bool:
    """Let a model attend by flash-attn where that is installed and has its attention; say whether it does."""
    if not is_flash_attn_2_available() or not computes_in_half(model, args):
        return False
    try:
        use(model, "flash_attention_2")
    except (ImportError, ValueError):  # no form for this model, or for this GPU
        return False
    return without_adapter(model).config._attn_implementation == "flash_attention_2"


def use(model: PreTrainedModel, name: str) -> None:
    """Have a model's layers attend by an implementation of this name; ours is made known to transformers first."""
    AttentionInterface.register(VARLEN, by_document)
    AttentionMaskInterface.register(VARLEN, mask_of_padding)
    without_adapter(model).set_attn_implementation(name)


def obstacle(model: PreTrainedModel, args: TrainingArguments) -> str | None:
    """Return why the kernel cannot compute a model's attention on this GPU, None if it can."""
    config = model.config.get_text_config()
    kernel = "torch's kernel of variable length"
    if form := other_form(config):
        return f"{type(model).__name__} has {form}, and {kernel} has not"
    if not computes_in_half(model, args):
        return f"{kernel} has 16-bit floats alone (bf16: true)"
    if torch.cuda.get_device_capability() < OLDEST:
        return f"a {torch.cuda.get_device_name()} is older than {kernel}"
    if not model._can_set_attn_implementation():  # what set_attn_implementation asks, which only warns
        return f"{type(model).__name__} computes its attention without transformers' interface"
    wrong = wrong_here(config, torch.float16 if args.fp16 else torch.bfloat16, torch.device("cuda"))
    return wrong and f"{kernel} {wrong}"


def computes_in_half(model: PreTrainedModel, args: TrainingArguments) -> bool:
    """Say whether a model's attention is computed in 16 bits: mixed precision, or weights of 16 bits."""
    if getattr(model, "is_quantized", False):
        return model.config.dtype in HALF
    return bool(args.bf16 or args.fp16) or model.dtype in HALF


def by_document(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return a layer's attention (B, T, H, D) of states (B, H, T, D), as transformers' interface wants it.

    `cu_seq_lens_q` (N + 1,): TRL's borders of the documents of a batch without padding; without them each row is one.
    Rows with padding, which have a mask, are computed by sdpa: held-out rows are measured one by one.
    """
    if attention_mask is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    rows, _, length, _ = query.shape
    if cu_seq_lens_q is None:
        cu_seq_lens_q, max_length_q = borders_of((length,) * rows, query.device)
    dtype = dtype_of(query, module)
    states = [each.transpose(1, 2).flatten(0, 1).to(dtype) for each in (query, key, value)]  # (B·T, H, D)
    attended = by_kernel(*states, cu_seq_lens_q, max_length_q, sliding_window, scaling)
    return attended.unflatten(0, (rows, length)), None


def dtype_of(query: torch.Tensor, module: torch.nn.Module) -> torch.dtype:
    """Return the type in which a layer's attention is computed: norms in float32 must not widen it."""
    if query.dtype not in HALF and torch.is_autocast_enabled(query.device.type):
        return torch.get_autocast_dtype(query.device.type)
    known = (query.dtype, module.config.dtype, *(weights.dtype for weights in module.parameters()))
    return next((dtype for dtype in known if dtype in HALF), query.dtype)


def mask_of_padding(*arguments: Any, attention_mask: torch.Tensor | None = None, **others: Any) -> torch.Tensor | None:
    """Return sdpa's mask (B, 1, T, T) for rows with padding, and none for packed ones, whose borders say the same."""
    if attention_mask is None:
        return None
    return sdpa_mask(*arguments, attention_mask=attention_mask, **others)


def attends_by_document(model: PreTrainedModel) -> bool:
    """Say whether a model attends by the kernel of variable length."""
    return without_adapter(model).config._attn_implementation == VARLEN


def keep_if_right(model: PreTrainedModel, logits: Callable[[], torch.Tensor], tolerance: float) -> None:
    """Go back to sdpa where that gives a model other logits, and say so. Every rank calls it.

    `logits` computes them, (T, V); `tolerance` is that of their difference, over their spread.
    """
    found = logits()
    use(model, "sdpa")
    plain = logits()
    off = float((found - plain).abs().max() / plain.std())
    if on_every_rank({VARLEN} if off < tolerance else ()):
        use(model, VARLEN)
    else:
        say(f"packed rows: attention computes whole rows after all, as the kernel's logits were off by {off:.0%}")
