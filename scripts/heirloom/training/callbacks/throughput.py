"""How fast a training is and what memory it takes, by step: for its log, its trackers and the record of its execution.

These figures differ between machines and between two executions, so no result holds them. They are kept in the work
folder, which the launcher looks into at the end (heirloom/launcher/record.py).
"""

import csv
import math
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.distributed import is_main_rank, on_cpu
from heirloom.records.measured import THROUGHPUT
from heirloom.training.callbacks.loss_history import LONGEST, rounded
from heirloom.training.callbacks.model_flops import Utilization

GIB = 1 << 30


@dataclass(frozen=True)
class Moment:
    """How far a training is. `seconds`: of training, without the measurements of held-out rows and the time between
    an interruption and the next start. `tokens`: of all ranks, without padding.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0


class Throughput(TrainerCallback):
    """Measures on each rank; the main rank keeps a row for as many steps as the loss history does.

    Whoever wants the figures since a moment of its own keeps that moment and asks `since`.
    """

    def __init__(self) -> None:
        self.utilization: Utilization | None = None
        self.now = Moment()
        self.rows: list[dict[str, float]] = []
        self._row_began = Moment()
        self._clock: float | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._clock is None:
            self.rows = earlier_rows(Path(args.output_dir) / THROUGHPUT, state.global_step)
            seconds = self.rows[-1]["seconds"] if self.rows else 0.0
            self.now = self._row_began = Moment(state.global_step, seconds, state.num_input_tokens_seen)
            self._clock = time.monotonic()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Count the time since the last log as training if it ends a step; measuring held-out rows is none."""
        if self._clock is None:
            return
        before, self._clock = self._clock, time.monotonic()
        if "loss" in logs:
            seconds = self.now.seconds + self._clock - before
            self.now = Moment(state.global_step, seconds, state.num_input_tokens_seen)
            if self.now.step % math.ceil(state.max_steps / LONGEST) == 0 or self.now.step == state.max_steps:
                self.rows.append(self.row())
                self._row_began = self.now

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.write(Path(args.output_dir))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.write(Path(args.output_dir))

    def since(self, moment: Moment) -> dict[str, float]:
        """Return the figures of the steps after `moment`; empty where there was none.

        `tokens_per_second`: of all ranks, without padding. `peak_memory_gib`: what this rank's GPU had allocated at
        most so far, on a CPU its process. `mfu_percent`: where the peak of the GPU is known.
        """
        steps, tokens = self.now.step - moment.step, self.now.tokens - moment.tokens
        if steps <= 0:
            return {}
        speed = tokens / max(self.now.seconds - moment.seconds, 1e-9)
        figures = {"tokens_per_second": speed, "peak_memory_gib": peak_memory() / GIB}
        if self.utilization:
            figures["mfu_percent"] = 100 * self.utilization.mfu(tokens / steps, speed)
        return figures

    def row(self) -> dict[str, float]:
        """Return what a line of the file says of the steps since the last one."""
        figures = {name: rounded(value) for name, value in self.since(self._row_began).items()}
        return {"step": self.now.step, "seconds": round(self.now.seconds, 3), "tokens": self.now.tokens, **figures}

    def write(self, work: Path) -> None:
        """Write the rows, and one of the steps since: a training that goes on from here knows its seconds by it."""
        if not is_main_rank():
            return
        rows = [*self.rows, *([self.row()] if self.now.step > self._row_began.step else [])]
        if rows:
            with (work / THROUGHPUT).open("w", encoding="utf-8", newline="") as opened:
                writer = csv.DictWriter(opened, list(rows[-1]), restval="", extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def peak_memory() -> int:
    """Return the bytes that this process had allocated at most so far: on its GPU, or without one in main memory."""
    if on_cpu():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return torch.cuda.max_memory_allocated()


def earlier_rows(file: Path, step: int) -> list[dict[str, float]]:
    """Return the rows up to `step` that an interrupted training has left; none of a file that was cut short."""
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(opened)]
        return [row | {name: int(row[name]) for name in ("step", "tokens")} for row in rows if row["step"] <= step]
    except (OSError, ValueError, KeyError, TypeError):
        return []
