"""Send the course of a training to an experiment tracker, as often as `tracking.logging_steps` says."""

import netrc
import os
from collections import defaultdict
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from heirloom import rank
from heirloom.config.tracking import TrackingSection

WANDB_HOST = "api.wandb.ai"


def tracker_callbacks(tracking: TrackingSection) -> list[TrainerCallback]:
    """Return a callback for each tracker in `report_to`; Weights & Biases works offline where it has no key."""
    names = [tracking.report_to] if isinstance(tracking.report_to, str) else tracking.report_to
    names = [name for name in names if name != "none"]
    if "wandb" in names:
        rank.allow("wandb")
        os.environ.setdefault("WANDB_PROJECT", tracking.project)
        os.environ.setdefault("WANDB_MODE", "online" if has_wandb_key() else "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
    return [Thinned(kind(), tracking.logging_steps) for kind in get_reporting_integration_callbacks(names)]


def has_wandb_key() -> bool:
    """Say whether a key for Weights & Biases is at hand: in the environment or in ~/.netrc (`wandb login`)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class Thinned(TrainerCallback):
    """Passes a trainer's events on to `callback`, the logged values as means over `every` steps."""

    def __init__(self, callback: TrainerCallback, every: int) -> None:
        self.callback = callback
        self.every = every
        self.pending: dict[str, list[float]] = defaultdict(list)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.callback.on_train_begin(args, state, control, **kwargs)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        if "loss" in logs:
            for name, value in logs.items():
                self.pending[name].append(value)
            if state.global_step % self.every and state.global_step != state.max_steps:
                return
            logs = {name: sum(values) / len(values) for name, values in self.pending.items()}
            self.pending.clear()
        self.callback.on_log(args, state, control, logs=logs, **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.callback.on_train_end(args, state, control, **kwargs)
