"""The course of a training: losses by step, for metrics, plots and trackers.

What is kept depends on the training's length only, never on how often something is shown or saved, so that the files
made from it are the same however a run is watched and wherever it was interrupted.
"""

import csv
import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

LONGEST = 1000
"""Rows that the history of a long training has at most; each is the mean of as many steps as that takes."""
FILE = "loss_history.json"
NOT_REPEATABLE = ("runtime", "per_second", "num_tokens", "epoch", "total_flos", "num_input_tokens", "step_time")
"""Parts of names of logged values that depend on the machine or on where a run was interrupted."""


class LossHistory(TrainerCallback):
    """Keeps what the trainer logs: it logs every step, see `heirloom.training.training_arguments`.

    `rows` are dicts with `step` and the values of that step: training values (`loss`, `grad_norm`, …) as means since
    the row before, held-out ones (`eval_loss`, …) as measured at that step.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.pending: list[dict[str, float]] = []
        self.loss_sum = 0.0  # over all steps

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        state.log_history.clear()  # kept here instead: it would grow every checkpoint
        values = {name: value for name, value in logs.items() if is_repeatable(name, value)}
        if "loss" in values:
            self.add_step(state.global_step, state.max_steps, values)
        elif any(name.startswith("eval_") for name in values):
            self.row_of(state.global_step).update(values)

    def add_step(self, step: int, last: int, values: dict[str, float]) -> None:
        self.loss_sum += values["loss"]
        self.pending.append(values)
        interval = math.ceil(last / LONGEST)
        if step % interval == 0 or step == last:
            self.end_row(step)

    def end_row(self, step: int) -> None:
        """Make the pending steps a row, that of `step`, the last of them: also where a training ends before its end."""
        if self.pending:
            names = dict.fromkeys(name for each in self.pending for name in each)
            self.row_of(step).update(
                {name: mean([each[name] for each in self.pending if name in each]) for name in names}
            )
            self.pending = []

    def row_of(self, step: int) -> dict[str, float]:
        """Return the row of `step`, which is the last one or a new one."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        return self.rows[-1]

    def measured_at(self, step: int) -> bool:
        """Say whether the held-out rows were measured at `step`, the last one so far."""
        return bool(self.rows) and self.rows[-1]["step"] == step and is_measured(self.rows[-1])

    def held_out(self, position: int, step: int | None = None) -> dict[str, float]:
        """Return the first (0) or last (-1) values on held-out rows, named without `eval_`; empty without any.

        With a `step`, of those that were measured then.
        """
        measured = [row for row in self.rows if is_measured(row) and step in (None, row["step"])]
        last = measured[position] if measured else {}
        held_out = {name: value for name, value in last.items() if name.startswith("eval_")}
        return {column(name.removeprefix("eval_")): rounded(value) for name, value in held_out.items()}

    def save(self, folder: Path) -> None:
        """Write the history into a checkpoint."""
        rows, pending = ([with_words(row) for row in part] for part in (self.rows, self.pending))
        content = {"rows": rows, "pending": pending, "loss_sum": self.loss_sum}
        (folder / FILE).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up the history of a checkpoint."""
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        self.rows, self.pending = ([with_numbers(row) for row in content[part]] for part in ("rows", "pending"))
        self.loss_sum = content["loss_sum"]

    @property
    def repeatable_rows(self) -> list[dict[str, float | None]]:
        """The rows with rounded values: what a result may hold. None: no finite number, as fp16's norm of a step that
        DeepSpeed skips; JSON has no infinity.
        """
        return [
            {column(name): rounded(value) if math.isfinite(value) else None for name, value in row.items()}
            for row in self.rows
        ]

    def write_csv(self, file: Path) -> None:
        """Write the rows, a column a value; what was not measured at a step, or is no finite number, is empty."""
        names = dict.fromkeys(["step", *(name for row in self.rows for name in row)])
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, [column(name) for name in names], restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.repeatable_rows)


def is_measured(row: dict[str, float]) -> bool:
    """Say whether a row holds values on held-out rows: a loss, or rewards."""
    return "eval_loss" in row or "eval_reward" in row


def with_words(row: dict[str, float]) -> dict[str, float | str]:
    """Return a row as JSON can hold it: inf, -inf and nan as words."""
    return {name: value if math.isfinite(value) else str(value) for name, value in row.items()}


def with_numbers(row: dict[str, float | str]) -> dict[str, float]:
    """Return what `with_words` was given."""
    return {name: float(value) if isinstance(value, str) else value for name, value in row.items()}


def is_repeatable(name: str, value: Any) -> bool:
    return isinstance(value, int | float) and not any(part in name for part in NOT_REPEATABLE)


def column(name: str) -> str:
    """Return a logged value's name without the slash that TRL puts into some."""
    return name.replace("/", "_")


def rounded(value: float) -> float:
    """Return six significant digits: more is noise to a reader."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
