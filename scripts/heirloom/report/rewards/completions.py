"""Answers that a training learned from, metrics/completions/RUN.jsonl, by the step that learned from them."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError

PROMPT, ANSWER = 600, 1500
"""Characters of a prompt's end and of an answer's beginning that a page shows."""
TEXTS = ("prompt", "completion", "reference", "finish_reason")
NUMBERS = ("step", "row", "reward", "advantage")
"""None for one that is not finite."""


def completions_by_step(file: Path) -> list[dict[str, Any]]:
    """Return {"step", "reward" (mean), "rows"} for each step; the rows are those of the file, their texts cut.

    Raises HeirloomError for a file that is missing or damaged.
    """
    found = []
    for step, rows in groupby(read_completions(file), key=lambda row: row["step"]):
        shown = [cut(row) for row in rows]
        rewards = [row["reward"] for row in shown if row["reward"] is not None]
        found.append({"step": step, "reward": sum(rewards) / len(rewards) if rewards else None, "rows": shown})
    return found


def cut(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose texts are short enough for a page, with an ellipsis where something is left out."""
    prompt, completion, reference = row["prompt"], row["completion"], row["reference"]
    return row | {
        "prompt": prompt if len(prompt) <= PROMPT else f"…{prompt[-PROMPT:]}",
        "completion": completion if len(completion) <= ANSWER else f"{completion[:ANSWER]}…",
        "reference": reference if len(reference) <= ANSWER else f"{reference[:ANSWER]}…",
    }


def read_completions(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file. Raises HeirloomError where there is none, and for a line that is none."""
    if not file.is_file():
        raise HeirloomError(f"{file}: there is no such file; train the run again")
    # not splitlines: answers may hold characters that it takes for ends of lines, such as U+2028
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if line:
            try:
                row = json.loads(line.decode())
                numbers = [*row["rewards"].values(), *(row[name] for name in NUMBERS)]
                whole = all(isinstance(row[name], str) for name in TEXTS)
                whole = whole and all(isinstance(number, int | float | None) for number in numbers)
            except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
                whole = False
            if not whole:
                raise HeirloomError(f"{file}, line {number}: is no answer with its rewards; train the run again")
            yield row
