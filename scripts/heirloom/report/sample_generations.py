"""Answers of several runs to the same prompts, side by side."""

from typing import Any

SHOWN = 300
"""Prompts that a page holds: enough to read, and a page that a phone opens."""
OF_AN_ANSWER = ("completion", "finish_reason", "completion_tokens", "logprob")


def side_by_side(generations: dict[str, list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], int]:
    """Return the first SHOWN prompts with the answers that each run gave, and how many prompts there are.

    Several samples of a prompt are entries of their own, and one prompt.

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
    return shared[:SHOWN], len({(dataset, row_id, prompt) for dataset, row_id, _, prompt in prompts})
