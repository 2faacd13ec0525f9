"""Say how far a training is: one line every `tracking.logging_steps` steps, fit for a log file."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.distributed import say
from heirloom.time_left import time_left
from heirloom.training.callbacks.model_flops import Utilization


class Progress(TrainerCallback):
    """Prints on the main rank: step, mean loss and tokens a step since the last line, learning rate, speed, time left.

    Tokens are those of all ranks without padding. With a `utilization` a line also states the MFU.
    """

    def __init__(self, every: int, first: bool) -> None:
        self.every = every
        self.first = first
        self.losses: list[float] = []
        self.started = self.line_time = self.step_time = 0.0
        self.first_step = self.line_tokens = -1
        self.utilization: Utilization | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.first_step < 0:
            self.started = self.line_time = time.monotonic()
            self.first_step, self.line_tokens = state.global_step, state.num_input_tokens_seen

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        if "eval_loss" in logs:
            more = f", perplexity {logs['eval_perplexity']:.2f}" if "eval_perplexity" in logs else ""
            more += f", exact match {logs['eval_exact_match']:.1%}" if "eval_exact_match" in logs else ""
            say(f"step {state.global_step}/{state.max_steps}  held-out loss {logs['eval_loss']:.4f}{more}")
            self.line_time += time.monotonic() - self.step_time  # measuring is no part of the speed of training
        elif "eval_reward" in logs:
            finished = logs["eval_completions/finished"]
            say(
                f"step {state.global_step}/{state.max_steps}  held-out reward {logs['eval_reward']:.4f}, "
                f"finished answers {finished:.1%}"
            )
            self.line_time += time.monotonic() - self.step_time
        elif "loss" in logs:
            self.losses.append(logs["loss"])
            self.step_time = time.monotonic()
            step, last = state.global_step, state.max_steps
            if step % self.every == 0 or step == last or (step == 1 and self.first):
                self.print_line(state, logs)

    def print_line(self, state: TrainerState, logs: dict[str, Any]) -> None:
        now = self.step_time
        tokens = state.num_input_tokens_seen - self.line_tokens
        per_step, speed = tokens / len(self.losses), tokens / max(now - self.line_time, 1e-9)
        mfu = f"MFU {100 * self.utilization.mfu(per_step, speed):.1f} %  " if self.utilization else ""
        reward = f"reward {logs['reward']:.4f}  " if "reward" in logs else ""
        left = (state.max_steps - state.global_step) * (now - self.started) / (state.global_step - self.first_step)
        say(
            f"step {state.global_step}/{state.max_steps}  loss {sum(self.losses) / len(self.losses):.4f}  {reward}"
            f"lr {logs.get('learning_rate', 0.0):.2e}  {per_step:,.0f} tokens/step  {speed:,.0f} tokens/s  "
            f"{mfu}{time_left(left)}"
        )
        self.losses, self.line_time, self.line_tokens = [], now, state.num_input_tokens_seen
