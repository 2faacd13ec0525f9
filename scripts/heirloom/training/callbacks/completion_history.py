"""Answers that a training has learned from: some of them, with what each part of the reward gave, for people to read.

A curve of rewards rises also where a model has found out how to be rewarded without doing what was meant; its answers
show it. Which of them are kept depends on the training's length only, as of the loss history, and they are written into
checkpoints for resuming: the file is the same however a training is watched and wherever it was interrupted.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from heirloom.distributed import say
from heirloom.training.callbacks.loss_history import rounded

DRAWINGS = 50
"""Batches of answers that a long training keeps some of at most, the first and the last among them."""
ANSWERS = 4
"""Answers of each that are kept: the first of the batch, which are answers to one prompt, or to as few as it takes."""
FILE = "completions.jsonl"
"""What a checkpoint for resuming knows of the answers before it."""


class CompletionHistory:
    """Keeps rows of the drawn answers: step, row (of the dataset), prompt, completion, reference, rewards by part,
    reward (their weighted sum), advantage, completion_tokens and finish_reason (stop or length).
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def is_due(self, step: int, last: int, uses: int) -> bool:
        """Say whether answers are kept of what is drawn after `step` steps of `last`; `uses`: steps of a batch."""
        drawing, drawings = step // uses, math.ceil(last / uses)
        return drawing % math.ceil(drawings / (DRAWINGS - 1)) == 0 or drawing == drawings - 1

    def save(self, folder: Path) -> None:
        """Write the rows into a checkpoint."""
        self.write(folder / FILE)

    def load(self, folder: Path) -> None:
        """Take up the rows of a checkpoint; one that an earlier version wrote has none, which is said."""
        if not (folder / FILE).is_file():
            say(f"{folder.name}: has no answers to look at, those before its step are not kept")
            return
        lines = (folder / FILE).read_text(encoding="utf-8").split("\n")  # a text may hold other ends of lines
        self.rows = [json.loads(line) for line in lines if line]

    def write(self, file: Path) -> None:
        """Write the rows, a line each."""
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self.rows)
        file.write_text("".join(lines), encoding="utf-8", newline="\n")


def answer_rows(logs: Mapping[str, Any], weights: Sequence[float], count: int) -> Iterator[dict[str, Any]]:
    """Yield the first `count` answers of the batch that was drawn last.

    `logs`: what TRL's trainer keeps to be logged, of all ranks; `weights`: of the parts of the reward, in their order.
    Numbers have six digits, as in the loss history; None for one that is not finite.
    """
    names, columns = list(logs["rewards"]), list(logs["rewards"].values())
    parts: Iterable[Sequence[float]] = zip(*columns, strict=True)
    for prompt, completion, of_answer, advantage in islice(
        zip(logs["prompt"], logs["completion"], parts, logs["advantages"], strict=True), count
    ):
        total = math.fsum(weight * part for weight, part in zip(weights, of_answer, strict=True))
        yield {
            "prompt": prompt,
            "completion": completion,
            "rewards": {name: finite(part) for name, part in zip(names, of_answer, strict=True)},
            "reward": finite(total),
            "advantage": finite(advantage),
        }


def finite(value: float) -> float | None:
    """Return a number as JSON can hold it and a reader wants it."""
    return rounded(value) if math.isfinite(value) else None
