"""Scores of generated answers. Rows are those of generations.jsonl; nothing here imports torch."""

import re
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from heirloom.errors import HeirloomError


def exact_match(rows: Sequence[dict[str, Any]], answer_pattern: str | None) -> dict[str, float]:
    """Return the share of rows whose answer equals the reference's, and the share in which an answer was found.

    The answer is group 1 of the first place that `answer_pattern` matches; without a pattern, the whole text. A
    completion without an answer is wrong. White space around an answer does not count.
    Raises HeirloomError when the pattern finds no answer in a reference.
    """
    pattern = re.compile(answer_pattern) if answer_pattern is not None else None
    expected = [answer_in(row["reference"], pattern) for row in rows]
    without = [row["row_id"] for row, answer in zip(rows, expected, strict=True) if answer is None]
    if without and pattern is None:
        raise HeirloomError(
            f"exact_match: {len(without)} of {len(rows)} prompts have no reference, first {without[0]}: give the file "
            "of prompts a `reference` a line, or take exact_match out of the metrics"
        )
    if without:
        raise HeirloomError(
            f"evaluation.answer_pattern {answer_pattern!r} finds no answer in {len(without)} of {len(rows)} "
            f"references, first in {without[0]}: change the pattern so that its group 1 is the answer"
        )
    given = [answer_in(row["completion"], pattern) for row in rows]
    return {
        "exact_match": fmean(got == wanted for got, wanted in zip(given, expected, strict=True)),
        "answer_found": fmean(got is not None for got in given),
    }


def answer_in(text: str | None, pattern: re.Pattern | None) -> str | None:
    """Return the answer that `text` gives, None when the pattern finds none, or there is no text."""
    if text is None:
        return None
    if pattern is None:
        return text.strip()
    found = pattern.search(text)
    return found[1].strip() if found and found[1] is not None else None


def pattern_shares(rows: Sequence[dict[str, Any]], patterns: dict[str, str]) -> dict[str, float]:
    """Return for each named pattern the share of completions in which it is found."""
    return {
        name: fmean(re.search(pattern, row["completion"]) is not None for row in rows)
        for name, pattern in patterns.items()
    }


def token_counts(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return total, mean and largest number of tokens of prompts and completions, and the share that ended by itself.

    End tokens and padding are not counted.
    """
    counts: dict[str, Any] = {}
    for part in ("prompt", "completion"):
        lengths = [row[f"{part}_tokens"] for row in rows]
        counts[part] = {"total": sum(lengths), "mean": fmean(lengths), "largest": max(lengths)}
    return counts | {"finished": fmean(row["finish_reason"] == "stop" for row in rows)}
