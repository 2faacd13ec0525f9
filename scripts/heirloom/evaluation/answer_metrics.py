"""Scores of generated answers. Rows are those of generations.jsonl; nothing here imports torch."""

import re
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.evaluation.words import normalised


def exact_match(rows: Sequence[dict[str, Any]], answer_pattern: str | None) -> dict[str, float]:
    """Return the share of rows whose answer equals the reference's, and the share in which an answer was found.

    Raises HeirloomError as `exact_matches` does.
    """
    matches, found = exact_matches(rows, answer_pattern)
    return {"exact_match": fmean(matches), "answer_found": fmean(found)}


def exact_matches(rows: Sequence[dict[str, Any]], answer_pattern: str | None) -> tuple[list[bool], list[bool]]:
    """Return for each row whether its answer equals the reference's, and whether an answer was found.

    The answer is group 1 of the first place that `answer_pattern` matches; without a pattern, the whole text. A
    completion without an answer is wrong. White space around an answer does not count, nor
    how its accents are encoded (NFC).
    Raises HeirloomError when a row has no reference, or the pattern finds no answer in one.
    """
    pattern = re.compile(normalised(answer_pattern)) if answer_pattern is not None else None
    expected = [answer_in(reference, pattern) for reference in references(rows, "exact_match")]
    without = [row["row_id"] for row, answer in zip(rows, expected, strict=True) if answer is None]
    if without:
        raise HeirloomError(
            f"evaluation.answer_pattern {answer_pattern!r} finds no answer in {len(without)} of {len(rows)} "
            f"references, first in {without[0]}: change the pattern so that its group 1 is the answer"
        )
    given = [answer_in(row["completion"], pattern) for row in rows]
    matches = [got == wanted for got, wanted in zip(given, expected, strict=True)]
    return matches, [got is not None for got in given]


def references(rows: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """Return the rows' references, with which `metric` compares. Raises HeirloomError when a row has none."""
    without = [row["row_id"] for row in rows if row["reference"] is None]
    if without:
        raise HeirloomError(
            f"{metric}: {len(without)} of {len(rows)} prompts have no reference, first {without[0]}: give the file of "
            f"prompts a `reference` a line, or take {metric} out of the run's `evaluation:`"
        )
    return [row["reference"] for row in rows]


def answer_in(text: str, pattern: re.Pattern | None) -> str | None:
    """Return the answer that `text` gives, None when the pattern finds none."""
    text = normalised(text)
    if pattern is None:
        return text.strip()
    found = pattern.search(text)
    return found[1].strip() if found and found[1] is not None else None


def pattern_matches(rows: Sequence[dict[str, Any]], patterns: dict[str, str]) -> dict[str, list[bool]]:
    """Return for each named pattern whether it is found in each row's completion."""
    texts = [normalised(row["completion"]) for row in rows]
    compiled = {name: re.compile(normalised(pattern)) for name, pattern in patterns.items()}
    return {name: [pattern.search(text) is not None for text in texts] for name, pattern in compiled.items()}


def token_counts(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return total, mean and largest number of tokens of prompts and completions, and the share that ended by itself.

    End tokens and padding are not counted.
    """
    counts: dict[str, Any] = {}
    for part in ("prompt", "completion"):
        lengths = [row[f"{part}_tokens"] for row in rows]
        counts[part] = {"total": sum(lengths), "mean": fmean(lengths), "largest": max(lengths)}
    return counts | {"finished": fmean(row["finish_reason"] == "stop" for row in rows)}
