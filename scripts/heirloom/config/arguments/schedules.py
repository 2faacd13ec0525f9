"""The learning rate's schedules: what each takes beside the warmup (transformers.optimization)."""

from collections.abc import Iterator
from typing import Any

from heirloom.config.parsing.mistakes import did_you_mean

WITH_FLOOR = ("num_cycles", "min_lr", "min_lr_rate")
SCHEDULES: dict[str, tuple[str, ...]] = {
    "linear": (),
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "polynomial": ("lr_end", "power"),
    "constant": (),
    "constant_with_warmup": (),
    "inverse_sqrt": ("timescale",),
    "cosine_with_min_lr": WITH_FLOOR,
    "cosine_warmup_with_min_lr": (*WITH_FLOOR, "warmup_lr_rate"),
    "warmup_stable_decay": (
        *("num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"),
    ),
}
"""Schedule → its lr_scheduler_kwargs. The two that follow the held-out loss pass theirs on and are left out."""
OF_HELD_OUT_LOSS = ("reduce_lr_on_plateau", "greedy")
NEEDED = {
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate"),
    "warmup_stable_decay": ("num_decay_steps",),
}
"""Schedule → the keys of which it needs exactly one."""


def schedule_problems(arguments: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield what is wrong with lr_scheduler_kwargs, which transformers would tell once model and data are loaded."""
    schedule, given = arguments.get("lr_scheduler_type", "linear"), arguments.get("lr_scheduler_kwargs")
    if isinstance(given, str):
        yield ("lr_scheduler_kwargs",), "expected keys and values, found a text; write {key: value}"
        return
    if schedule in OF_HELD_OUT_LOSS and arguments.get("eval_strategy", "no") == "no":
        yield ("lr_scheduler_type",), f"{schedule} follows the held-out loss; set eval_strategy: steps or epoch"
    given = {} if given is None else given
    if not isinstance(schedule, str) or schedule not in SCHEDULES or not isinstance(given, dict):
        return
    known = SCHEDULES[schedule]
    for key in given:
        if key not in known:
            remedy = did_you_mean(str(key), known) if known else "delete it"
            yield ("lr_scheduler_kwargs", key), f"{schedule} has no such key; {remedy}"
    needed = NEEDED.get(schedule, ())
    if needed and len({*needed} & given.keys()) != 1:
        yield ("lr_scheduler_type",), f"{schedule} needs lr_scheduler_kwargs with {' or '.join(needed)}; add one"
    if schedule == "constant" and arguments.get("warmup_steps"):
        yield ("warmup_steps",), "has no effect with lr_scheduler_type: constant; use constant_with_warmup or delete it"
