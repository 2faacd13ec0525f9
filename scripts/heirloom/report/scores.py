"""Scores with their 95 % intervals, and the one rule by which a report calls a difference an improvement.

A difference is called better or worse only when its whole interval lies on one side of zero. Without an interval it is
not judged at all.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

NOT_SCORES = ("answers", "tokens", "interval", "base", "change", "against")
"""Parts of metrics/evaluation/RUN.json that are counts, or that say something about its scores."""
HIGHER_IS_BETTER = ("exact_match", "answer_found", "numeric_match", "rouge", "bleu", "chrf", "preference")
LOWER_IS_BETTER = ("perplexity", "nll_per_token")

Verdict = Literal["better", "worse", "higher", "lower", "within the noise", "not judged"]


def flat_scores(evaluation: dict[str, Any]) -> dict[str, float | str]:
    """Return `rouge.rougeL` → value for every score, nested ones too; NaN and infinities are text (`read_json`)."""

    def leaves(value: Any, name: str) -> Iterator[tuple[str, float | str]]:
        if isinstance(value, dict):
            for key, part in value.items():
                yield from leaves(part, f"{name}.{key}")
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            yield name, value

    return {
        name: value
        for part, content in evaluation.items()
        if part not in NOT_SCORES
        for name, value in leaves(content, part)
    }


def score_rows(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row a score: its value and interval, the base's value, and the change with interval and verdict.

    Each row has "name", "value", "interval", "base", "difference", "difference_interval", "verdict"; what was not
    measured is None, an interval is [low, high]. The change is the one that the evaluation paired by prompt.
    """
    base = flat_scores(evaluation.get("base", {}))
    rows = []
    for name, value in flat_scores(evaluation).items():
        change = evaluation.get("change", {}).get(name, {})
        difference = change.get("difference")
        if difference is None and is_finite(value) and is_finite(base.get(name)):
            difference = value - base[name]
        rows.append(
            {
                "name": name,
                "value": value,
                "interval": interval_of(evaluation.get("interval", {}).get(name)),
                "base": base.get(name),
                "difference": difference,
                "difference_interval": interval_of(change),
                "verdict": None if difference is None else verdict(name, interval_of(change)),
            }
        )
    return rows


def win_rows(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each run whose answers this run's were compared with; an even match is a win rate of 0.5."""
    rows = []
    for other, found in evaluation.get("against", {}).items():
        interval = interval_of(found)
        from_even = [bound - 0.5 for bound in interval] if interval else None
        rows.append({"other": other, **found, "interval": interval, "verdict": verdict("preference", from_even)})
    return rows


def verdict(score: str, interval: list[float] | None) -> Verdict:
    """Say what a difference of a score means, of which `interval` is the 95 % interval [low, high], if known."""
    if interval is None:
        return "not judged"
    low, high = interval
    if low <= 0 <= high:
        return "within the noise"
    direction = direction_of(score)
    if direction == 0:
        return "higher" if low > 0 else "lower"
    return "better" if (low > 0) == (direction > 0) else "worse"


def direction_of(score: str) -> int:
    """Return 1 where more is better, -1 where less is better, 0 where neither is."""
    family = score.partition(".")[0]
    return 1 if family in HIGHER_IS_BETTER else -1 if family in LOWER_IS_BETTER else 0


def interval_of(found: dict[str, Any] | None) -> list[float] | None:
    """Return [low, high] of a mapping that has both as finite numbers, else None."""
    bounds = [(found or {}).get("low"), (found or {}).get("high")]
    return bounds if all(map(is_finite, bounds)) else None


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
