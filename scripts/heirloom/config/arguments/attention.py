"""Which implementations of attention there are (`attn_implementation`); known without torch."""

from heirloom.config.parsing.mistakes import did_you_mean

KNOWN = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4")
"""Those of the pinned transformers that can train."""
MEANING = (
    "attention: eager, sdpa, flex_attention, flash_attention_2, 3 or 4, or a kernel of a hub as owner/name; absent: "
)
NEEDS_GPU = ("flash_attention", "flex_attention")
"""Attention whose backward pass torch and its extensions have for GPUs only; how such names begin."""


def unknown_attention(name: str) -> str | None:
    """Return why there is no attention of that name; None when there is, or a kernel of a hub (owner/name) is meant."""
    if name in KNOWN or "/" in name:
        return None
    return f"there is no attention {name}; {did_you_mean(name, KNOWN)}"


def without_gpu(name: str) -> str | None:
    """Return why a machine without a GPU cannot train with this attention; None when it can."""
    if not name.startswith(NEEDS_GPU):
        return None
    return f"training.attn_implementation: {name} trains on a GPU only, and this machine has none: use sdpa or eager"
