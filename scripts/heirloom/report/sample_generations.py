"""Answers of several runs to the same prompts, side by side."""

import json
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError

SHOWN = 300
"""Prompts that a page holds: enough to read, and a page that a phone opens."""
OF_AN_ANSWER = ("completion", "finish_reason", "completion_tokens", "logprob")


def read_generations(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of generations.jsonl. Raises HeirloomError when there is no such file or it is damaged."""
    file = folder / "generations.jsonl"
    if not file.is_file():
        raise HeirloomError(f"{file}: there is no such file; make it with inference.py")
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if line:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                message = f"{file}, line {number}: is not JSON ({error}); generate the answers again"
                raise HeirloomError(message) from None
    return rows


def side_by_side(generations: dict[str, list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], int]:
    """Return the first SHOWN prompts with the answers that each run gave, and how many prompts there are.

    `generations` is run → rows. Answers belong together when dataset, row, sample and the prompt's text are the same.
    Each prompt is {"row_id", "sample", "dataset", "prompt", "reference", "answers": {run: {…}}}.
    """
    prompts: dict[tuple, dict[str, Any]] = {}
    for run, rows in generations.items():
        for row in rows:
            key = (row.get("dataset"), row.get("row_id"), row.get("sample", 0), row["prompt"])
            names = ("dataset", "row_id", "sample", "prompt")
            found = prompts.setdefault(
                key, {**dict(zip(names, key, strict=True)), "reference": row.get("reference"), "answers": {}}
            )
            found["answers"][run] = {name: row[name] for name in OF_AN_ANSWER if row.get(name) is not None}
    shared = sorted(prompts.values(), key=lambda prompt: -len(prompt["answers"]))  # stable: what can be compared first
    return shared[:SHOWN], len(prompts)
