"""Attention of packed rows on a GPU: each document by itself, where the machine and the model allow it.

transformers' sdpa computes a packed row as one rectangle (T, T) and masks what lies between documents. torch's kernel
of variable length (varlen_kernel.py) goes through each document alone. Where it cannot be used flash-attn is, if it is
installed; else sdpa stays, and the log says why. Models that attend in another way than by sdpa are left alone, and an
`attn_implementation` of the run decides instead.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel, TrainingArguments
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import is_flash_attn_2_available

from heirloom.distributed import on_cpu, on_every_rank, say
from heirloom.errors import HeirloomError
from heirloom.models.language_models import without_adapter
from heirloom.training.batches.varlen_kernel import OLDEST, by_kernel, has_window, other_form, too_wide, wrong_here

SDPA, FLASH = "sdpa", "flash_attention_2"
VARLEN = "torch_varlen"
"""Its name among transformers' implementations of attention."""
HALF = (torch.bfloat16, torch.float16)
KERNEL = "torch's kernel of variable length"
_windows_seen: set[int] = set()
"""Windows that layers have asked for since it was cleared: in some families only a mask knows of them."""


def attend_by_document(model: PreTrainedModel, args: TrainingArguments, asked: str | None) -> None:
    """Let a model that trains on packed rows attend to each document by itself, where this GPU can; say which way.

    `asked`: the run's `attn_implementation`, which is obeyed. Nothing happens on a CPU, nor to models that do not
    attend by sdpa. Every rank calls it.
    """
    if asked is not None or on_cpu() or implementation(model) != SDPA:
        return
    reason = obstacle(model, args)
    everywhere = on_every_rank({VARLEN} if reason is None else ())
    reason = reason or f"another rank has no {KERNEL}"
    if everywhere:
        use(model, VARLEN)
        way = f"goes through each document by itself, by {KERNEL}"
    elif on_every_rank({FLASH} if has_flash_attention(model, args) else ()):
        use(model, FLASH)
        way = f"goes through each document by itself, by flash-attn: {reason}"
    else:
        way = f"computes whole rows and masks what lies between documents: {reason}"
    model.attention_on_trial = implementation(model) != SDPA
    say(f"packed rows: attention {way}")


def implementation(model: PreTrainedModel) -> str:
    """Return transformers' name of the way in which a model attends."""
    return without_adapter(model).config._attn_implementation


def use(model: PreTrainedModel, name: str) -> None:
    """Have a model's layers attend by an implementation of this name; ours is made known to transformers first."""
    AttentionInterface.register(VARLEN, by_document)
    AttentionMaskInterface.register(VARLEN, mask_of_padding)
    without_adapter(model).set_attn_implementation(name)


def obstacle(model: PreTrainedModel, args: TrainingArguments) -> str | None:
    """Return why the kernel cannot compute a model's attention on this GPU, None if it can."""
    config = model.config.get_text_config()
    if form := other_form(config):
        return f"{KERNEL} has not what {type(model).__name__} has: {form}"
    if not computes_in_half(model, args):
        return f"{KERNEL} has 16-bit floats alone (bf16: true)"
    if torch.cuda.get_device_capability() < OLDEST:
        return f"a {torch.cuda.get_device_name()} is older than {KERNEL}"
    if not model._can_set_attn_implementation():  # what set_attn_implementation asks, which only warns
        return f"{type(model).__name__} computes its attention without transformers' interface"
    wrong = wrong_here(config, torch.float16 if args.fp16 else torch.bfloat16, torch.device("cuda"))
    return wrong and f"{KERNEL} {wrong}"


def has_flash_attention(model: PreTrainedModel, args: TrainingArguments) -> bool:
    """Say whether flash-attn is installed and has a model's attention: 16 bits, GPUs from Ampere on, narrow heads."""
    if not is_flash_attn_2_available() or not computes_in_half(model, args) or not model._supports_flash_attn:
        return False
    return torch.cuda.get_device_capability() >= OLDEST and not too_wide(model.config.get_text_config())


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

    `cu_seq_lens_q` (N + 1,): TRL's borders of the documents of a packed batch. Rows without them are computed by sdpa:
    held-out rows are measured one by one, in whatever type. Raises HeirloomError for dropout in a packed batch.
    """
    if attention_mask is not None or cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    if dropout:
        raise HeirloomError(
            f"{type(module).__name__} drops out attention, which {KERNEL} has not: set training.attn_implementation: "
            "sdpa"
        )
    if sliding_window is not None:
        _windows_seen.add(sliding_window)
    rows, _, length, _ = query.shape
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


def mask_of_padding(
    *arguments: Any, attention_mask: torch.Tensor | None = None, allow_is_causal_skip: bool = True, **others: Any
) -> torch.Tensor | None:
    """Return sdpa's mask (B, 1, T, T), and none for packed rows, whose borders say the same.

    transformers allows no skip where it has found, by their positions, that rows are packed.
    """
    if attention_mask is None and not allow_is_causal_skip:
        return None
    return sdpa_mask(*arguments, attention_mask=attention_mask, allow_is_causal_skip=allow_is_causal_skip, **others)


def is_on_trial(model: PreTrainedModel) -> bool:
    """Say whether a model attends in a way that `attend_by_document` has chosen."""
    return getattr(without_adapter(model), "attention_on_trial", False)


def keep_if_right(model: PreTrainedModel, logits: Callable[[], torch.Tensor], tolerance: float) -> None:
    """Go back to sdpa where the chosen way fails or gives a model other logits, and say so. Every rank calls it.

    `logits` computes them, (T, V); `tolerance` is that of their difference, over their spread. Windows are longer than
    what is tried: where a model has one, some layer must have asked for it.
    """
    chosen = implementation(model)
    wrong = None
    _windows_seen.clear()
    try:
        found = logits()
    except RuntimeError as failure:
        found, wrong = None, str(failure).strip().splitlines()[0]
    if chosen == VARLEN and has_window(without_adapter(model).config.get_text_config()) and not _windows_seen:
        wrong = wrong or "its layers do not say how wide their window is"
    use(model, SDPA)
    plain = logits()
    if found is not None and not (off := float((found - plain).abs().max() / plain.std())) < tolerance:
        wrong = wrong or f"logits were off by {off:.0%}"
    if on_every_rank({chosen} if wrong is None else ()):
        use(model, chosen)
    else:
        say(f"packed rows: attention computes whole rows after all: {wrong or 'another rank found it wrong'}")
    without_adapter(model).attention_on_trial = False
