"""Names of optimizers in earlier transformers versions and what does the same now; optimizers that ZeRO changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heirloom.json_files import read_json

FORMER_OPTIMIZERS = {"adamw_hf": "adamw_torch", "adamw_apex_fused": "adamw_torch_fused"}

OF_SHAPES = ("adafactor", "stable_adamw", "apollo", "galore", "lomo", "adalomo", "grokadamw")
"""Beginnings of the names of optimizers whose step depends on the shape of a weight, or on which weights are one."""


def zero_problem(optim: object, deepspeed: Path) -> str | None:
    """Return why an optimizer would be another one under a DeepSpeed file; None when nothing is against it.

    ZeRO-1, 2 and 3 hand flat pieces of all weights to the optimizer: Adafactor then factors nothing, and where the
    pieces end depends on the number of ranks.
    """
    if not isinstance(optim, str) or not optim.startswith(OF_SHAPES) or not (stage := zero_stage(deepspeed)):
        return None
    return (
        f"{optim} looks at the shapes of weights, and ZeRO-{stage} hands it flat pieces of them, so it would be "
        "another optimizer, which depends on the number of ranks; use an AdamW, deepspeed: zero0, or no deepspeed"
    )


def zero_stage(deepspeed: Path) -> int:
    """Return which stage of ZeRO a DeepSpeed file asks for: 0 to 3, 0 where it names none."""
    return read_json(deepspeed).get("zero_optimization", {}).get("stage", 0)


def former_optimizer_warning(optim: object) -> str | None:
    """Return the warning for an optimizer's former name, None for any other value."""
    if not isinstance(optim, str) or optim not in FORMER_OPTIMIZERS:
        return None
    return f"{optim} is the former name of {FORMER_OPTIMIZERS[optim]}, which is used; write that"


def optimizer_problems(arguments: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield what is wrong with optim_args, which transformers would tell once model and data are loaded."""
    given = arguments.get("optim_args")
    if isinstance(given, str) and any(part.count("=") != 1 for part in given.split(",") if given):
        yield ("optim_args",), "expected name=value, several with commas between; mend or delete it"
