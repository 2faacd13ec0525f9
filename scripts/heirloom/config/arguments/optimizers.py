"""Names of optimizers in earlier transformers versions, and what does the same now."""

FORMER_OPTIMIZERS = {"adamw_hf": "adamw_torch", "adamw_apex_fused": "adamw_torch_fused"}


def former_optimizer_warning(optim: object) -> str | None:
    """Return the warning for an optimizer's former name, None for any other value."""
    if not isinstance(optim, str) or optim not in FORMER_OPTIMIZERS:
        return None
    return f"{optim} is the former name of {FORMER_OPTIMIZERS[optim]}, which is used; write that"
