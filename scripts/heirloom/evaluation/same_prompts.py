"""Answers are compared prompt by prompt, so both sides must have answered the same ones."""

from collections.abc import Sequence
from typing import Any

from heirloom.errors import HeirloomError

Rows = Sequence[dict[str, Any]]


def check_same_prompts(rows: Rows, others: Rows, place: str) -> None:
    """Raise HeirloomError for other ids or other texts; it begins with `place`: a key or flag, and whose answers."""
    asked, questions = prompt_texts(rows), prompt_texts(others)
    if changed := [prompt for prompt, text in asked.items() if questions.get(prompt, text) != text]:
        raise HeirloomError(
            f"{place} answered another prompt under the name {changed[0]}: let both runs answer the same dataset"
        )
    if asked.keys() != questions.keys():
        raise HeirloomError(
            f"{place} answered other prompts, first {min(asked.keys() ^ questions.keys())}: let both runs answer the "
            "same test split with the same generation.limit"
        )


def prompt_texts(rows: Rows) -> dict[str, tuple[str | None, str | None]]:
    """Return the dataset and the text of each prompt, as far as its rows tell them."""
    return {row["row_id"]: (row.get("dataset"), row.get("prompt")) for row in rows}
