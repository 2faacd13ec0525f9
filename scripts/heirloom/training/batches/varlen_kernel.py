"""torch's attention for sequences of variable length, and whether it is right on this machine.

It is flash attention inside torch: it needs no compiler and no other package. It has 16-bit floats, GPUs from Ampere
on, sliding windows and shared keys, and no dropout (torch 2.13, torch/nn/attention/varlen.py).
"""

from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig

OLDEST = (8, 0)
"""Compute capability (Ampere) from which it has kernels."""
WIDEST = 256
"""Most numbers of a head in them (aten/src/ATen/native/transformers/cuda/flash_attn)."""
KINDS = {"full_attention", "sliding_attention"}
"""Layers whose attention it has, by the words of a config's `layer_types`."""
OWN_FORMS = ("attn_logit_softcapping", "v_head_dim", "attention_chunk_size")
"""Keys of configs whose attention is another."""
DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
"""Names of a share of attention that is dropped out."""
PROBED = (5, 40)
"""Tokens of the documents on which it is tried."""
WINDOW = 16
TOLERANCE = 0.05
"""How far its outputs and gradients may be from exact ones, over the largest: 16 bits of standard normal numbers."""


def by_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: torch.Tensor,
    longest: int,
    window: int | None = None,
    scaling: float | None = None,
) -> torch.Tensor:
    """Return causal attention within documents that lie one after the other, (T, H, D).

    `borders`: where they begin and end, (N + 1,); `window`: how many tokens a token sees, itself among them.
    """
    from torch.nn.attention.varlen import varlen_attn  # here, as it loads torch's compiler (3 CPU s)

    return varlen_attn(
        query, key, value, borders, borders, longest, longest,
        scale=scaling, window_size=(-1 if window is None else window - 1, 0), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


def borders_of(lengths: tuple[int, ...], device: torch.device) -> tuple[torch.Tensor, int]:
    """Return where documents of these lengths begin and end (N + 1,), and the longest length."""
    ends = torch.tensor((0, *lengths), dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return ends.to(device), max(lengths)


def other_form(config: PreTrainedConfig) -> str | None:
    """Return what in a model's attention the kernel has not, by its text model's config; None when it has all of it."""
    try:
        for key in OWN_FORMS:
            if getattr(config, key, None) is not None:
                return key
        for key in DROPOUTS:
            if getattr(config, key, 0):
                return key
        if strange := set(getattr(config, "layer_types", None) or ()) - KINDS:
            return f"layers of {', '.join(sorted(strange))}"
        if not getattr(config, "num_attention_heads", None):
            return "layers without heads of attention"
        return f"heads of more than {WIDEST} numbers" if too_wide(config) else None
    except RuntimeError:  # transformers' own, where one number stands for layers that differ
        return "layers of different sizes"


def too_wide(config: PreTrainedConfig) -> bool:
    """Say whether a head of attention has more numbers than the kernel knows."""
    return head_size(config) > WIDEST


def head_size(config: PreTrainedConfig) -> int:
    """Return how many numbers a head of attention has."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def has_window(config: PreTrainedConfig) -> bool:
    """Say whether some layers see a window of tokens alone."""
    if kinds := getattr(config, "layer_types", None):
        return "sliding_attention" in kinds
    return getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)


def wrong_here(config: PreTrainedConfig, dtype: torch.dtype, device: torch.device) -> str | None:
    """Try the kernel with heads like a model's; return what is wrong with it, None when it is right.

    Outputs and gradients are held against those in float32, document by document, with and without a window.
    """
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    chance = torch.Generator().manual_seed(0)
    sizes = [(sum(PROBED), number, head_size(config)) for number in (heads, shared, shared)]
    states = [torch.randn(*size, generator=chance).to(device, dtype) for size in sizes]  # (T, H, D)
    where = borders_of(PROBED, device)
    for window in (None, WINDOW):
        try:
            found = with_gradients(lambda *inputs, seen=window: by_kernel(*inputs, *where, seen), states)
        except (ImportError, RuntimeError) as failure:  # not in this torch, or not built into it
            return f"fails here: {str(failure).strip().splitlines()[0]}"
        exact = with_gradients(
            lambda *inputs, seen=window: one_by_one(*inputs, seen), [each.float() for each in states]
        )
        off = [distance(*pair) for pair in zip(found, exact, strict=True)]
        if not all(each < TOLERANCE for each in off):  # a NaN is not
            return f"is off by {' and '.join(f'{each:.0%}' for each in off)} here (its output, its gradients)"
    return None


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest difference, over the largest exact number."""
    return float((found.float() - exact).abs().max() / exact.abs().max())


def with_gradients(attention: Callable[..., torch.Tensor], states: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return attention's output (T, H, D), and the gradients of its sum of squares for its inputs."""
    inputs = [each.detach().clone().requires_grad_() for each in states]
    output = attention(*inputs)
    return [output.detach(), *torch.autograd.grad(output.float().square().sum(), inputs)]


def one_by_one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None) -> torch.Tensor:
    """Return the attention of the probe's documents, (T, H, D), each computed by itself with a mask."""
    found, start = [], 0
    for length in PROBED:
        one = [states[start : start + length].transpose(0, 1) for states in (query, key, value)]  # (H, T, D)
        places = torch.arange(length, device=query.device)
        back = places[:, None] - places[None, :]
        seen = (back >= 0) & (back < (window or length))
        found.append(scaled_dot_product_attention(*one, attn_mask=seen, enable_gqa=True).transpose(0, 1))
        start += length
    return torch.cat(found)
