"""Say how far a training is: one line every `tracking.logging_steps` steps, fit for a log file."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.distributed import say
from heirloom.time_left import time_left
from heirloom.training.callbacks.throughput import Moment, Throughput


class Progress(TrainerCallback):
    """Prints on the main rank: step, mean loss and tokens a step since the last line, learning rate, speed, time left.

    MFU where it is known, and the peak of memory besides. Tokens are those of all ranks without padding. `throughput`
    must hear of each log first.
    """

    def __init__(self, every: int, first: bool, throughput: Throughput) -> None:
        self.every = every
        self.first = first
        self.throughput = throughput
        self.losses: list[float] = []
        self.line_began = Moment()
        self.started, self.first_step = 0.0, -1

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.first_step < 0:
            self.started, self.first_step = time.monotonic(), state.global_step
            self.line_began = self.throughput.now

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        if "eval_loss" in logs:
            more = f", perplexity {logs['eval_perplexity']:.2f}" if "eval_perplexity" in logs else ""
            more += f", exact match {logs['eval_exact_match']:.1%}" if "eval_exact_match" in logs else ""
            say(f"step {state.global_step}/{state.max_steps}  held-out loss {logs['eval_loss']:.4f}{more}")
        elif "eval_reward" in logs:
            finished = logs["eval_completions/finished"]
            say(
                f"step {state.global_step}/{state.max_steps}  held-out reward {logs['eval_reward']:.4f}, "
                f"finished answers {finished:.1%}"
            )
        elif "loss" in logs:
            self.losses.append(logs["loss"])
            step, last = state.global_step, state.max_steps
            if step % self.every == 0 or step == last or (step == 1 and self.first):
                self.print_line(state, logs)

    def print_line(self, state: TrainerState, logs: dict[str, Any]) -> None:
        figures = self.throughput.since(self.line_began)
        per_step = (self.throughput.now.tokens - self.line_began.tokens) / len(self.losses)
        mfu = f"MFU {figures['mfu_percent']:.1f} %  " if "mfu_percent" in figures else ""
        reward = f"reward {logs['reward']:.4f}  " if "reward" in logs else ""
        spent, done = time.monotonic() - self.started, state.global_step - self.first_step
        say(
            f"step {state.global_step}/{state.max_steps}  loss {sum(self.losses) / len(self.losses):.4f}  {reward}"
            f"lr {logs.get('learning_rate', 0.0):.2e}  {per_step:,.0f} tokens/step  "
            f"{figures['tokens_per_second']:,.0f} tokens/s  {mfu}memory {figures['peak_memory_gib']:.2f} GiB  "
            f"{time_left((state.max_steps - state.global_step) * spent / done)}"
        )
        self.losses, self.line_began = [], self.throughput.now
