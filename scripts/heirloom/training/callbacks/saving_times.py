"""When a checkpoint for resuming is written, beside every `save_steps`, and what it does without."""

import time
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.distributed import is_main_rank


class SaveByTime(TrainerCallback):
    """Asks for a checkpoint when `save_minutes` since the last one are over, by the main rank's clock, after a step.

    All ranks do so at the same step, because each writes its part of a checkpoint. Without minutes it asks for none.
    """

    def __init__(self, save_minutes: float | None) -> None:
        self.minutes = save_minutes
        self.saved_at = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.saved_at = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.minutes is None:
            return
        over = is_main_rank() and time.monotonic() - self.saved_at >= 60 * self.minutes
        due = torch.tensor(int(over), device=args.device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(due, torch.distributed.ReduceOp.MAX)
        if due:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.saved_at = time.monotonic()


def leave_out_the_model(trainer: Trainer) -> None:
    """Keep the model as transformers writes it out of checkpoints for resuming, where DeepSpeed writes its own parts.

    DeepSpeed goes on from those alone. The weights in one piece, for which ZeRO-3 would have to gather them, are a
    seventh of a checkpoint that nobody reads (16 of 112 GB for 8 billion weights).
    """
    if not trainer.is_deepspeed_enabled:
        return
    whole = trainer.save_model

    def save_model(output_dir: str | None = None, _internal_call: bool = False) -> None:
        if not _internal_call:
            whole(output_dir)

    trainer.save_model = save_model
