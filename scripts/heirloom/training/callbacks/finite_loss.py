"""Stop at the first step whose loss is no finite number, instead of finishing with a ruined model."""

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.errors import HeirloomError


class FiniteLoss(TrainerCallback):
    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Raise HeirloomError when the step's or the held-out loss is NaN or infinite; the trainer logs every step."""
        name, words = ("loss", "the loss") if "loss" in logs else ("eval_loss", "the held-out loss")
        loss = logs.get(name, 0.0)
        if not math.isfinite(loss):
            raise HeirloomError(
                f"{words} became {loss} at step {state.global_step} of {state.max_steps}, with learning rate "
                f"{logs.get('learning_rate', args.learning_rate):g}: lower training.learning_rate, give it more "
                "warmup_steps or a smaller max_grad_norm, and look at the preview of the dataset for odd rows"
            )
