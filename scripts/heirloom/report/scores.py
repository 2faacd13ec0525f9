"""Scores with their 95 % intervals, and the one rule by which a report calls a difference an improvement.

A difference is called better or worse only when its whole interval lies on one side of zero. Where it is known how many
prompts gained and how many lost, the exact sign test must say so too; otherwise there must be FEWEST prompts. Without
an interval, or with one of no width, it is not judged at all.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

from heirloom.evaluation.intervals import Z, sign_test

NOT_SCORES = ("answers", "tokens", "interval", "base", "change", "against")
"""Parts of metrics/evaluation/RUN.json that are counts, or that say something about its scores."""
HIGHER_IS_BETTER = ("exact_match", "answer_found", "numeric_match", "math_verify", "rouge", "bleu", "chrf")
HIGHER_IS_BETTER += ("preference", "reward")
LOWER_IS_BETTER = ("perplexity", "nll_per_token", "preference.calibration_error")
NEITHER = ("preference.length_correlation",)

FEWEST = 10
"""Prompts below which percentiles of the bootstrap mean little (and no sign test of five can reach 5 %)."""
SURE = 0.05

Verdict = Literal["better", "worse", "higher", "lower", "within the noise", "too few prompts", "not judged"]


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
                "verdict": None if difference is None else verdict(name, change),
            }
        )
    return rows


def harness_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row a score of the lm-evaluation-harness, as `score_rows`; "name" is task and score.

    Its interval is 1.96 of the harness's standard errors to either side.
    """
    rows = []
    for task, found in report.items():
        for score, value in found.items() if task not in NOT_SCORES else ():
            if "_stderr" in score or score == "sample_len":
                continue
            name, error = f"{task}.{score}", found.get(stderr_of(score))
            change = report.get("change", {}).get(name, {})
            rows.append(
                {
                    "name": name,
                    "value": value,
                    "interval": interval_by_error(value, error),
                    "base": report.get("base", {}).get(task, {}).get(score),
                    "difference": change.get("difference"),
                    "difference_interval": interval_of(change),
                    "verdict": verdict(name, change) if "difference" in change else None,
                }
            )
    return rows


def with_harness(evaluation: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an evaluation with the scores of `harness_rows` beside its own, and their intervals."""
    intervals = {row["name"]: row["interval"] for row in rows if row["interval"] is not None}
    limits = {name: {"low": low, "high": high} for name, (low, high) in intervals.items()}
    values = {row["name"]: row["value"] for row in rows}
    return evaluation | values | {"interval": evaluation.get("interval", {}) | limits}


def interval_by_error(value: Any, error: Any) -> list[float] | None:
    """Return [low, high], 1.96 standard errors to either side; None where a number is not known, or the error 0."""
    known = is_finite(value) and is_finite(error) and error > 0
    return [value - Z * error, value + Z * error] if known else None


def stderr_of(name: str) -> str:
    """Return where the harness has the standard error of a score: acc → acc_stderr; acc,filter → acc_stderr,filter."""
    score, comma, chosen = name.partition(",")
    return f"{score}_stderr{comma}{chosen}"


def win_rows(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each run whose answers this run's were compared with; an even match is a win rate of 0.5."""
    rows = []
    for other, found in evaluation.get("against", {}).items():
        interval = interval_of(found)
        change = {"gained": found.get("wins"), "lost": found.get("losses")}
        if interval is not None:
            change |= {"low": interval[0] - 0.5, "high": interval[1] - 0.5}
        rows.append({"other": other, **found, "interval": interval, "verdict": verdict("preference", change)})
    return rows


def verdict(score: str, change: dict[str, Any]) -> Verdict:
    """Say what a change of a score means: on pages and in terminals alike, nothing else decides.

    `change` has "low" and "high" of its 95 % interval, if known, with "prompts", or "gained" and "lost" (numbers of
    prompts whose share grew and fell).
    """
    interval = interval_of(change)
    if interval is None or interval[0] == interval[1]:
        return "not judged"
    low, high = interval
    if is_finite(change.get("gained")) and is_finite(change.get("lost")):
        noise = sign_test(change["gained"], change["lost"]) >= SURE
    elif not is_finite(change.get("prompts")):
        return "not judged"
    elif change["prompts"] < FEWEST:
        return "too few prompts"
    else:
        noise = False
    if noise or low <= 0 <= high:
        return "within the noise"
    direction = direction_of(score)
    if direction == 0:
        return "higher" if low > 0 else "lower"
    return "better" if (low > 0) == (direction > 0) else "worse"


def direction_of(score: str) -> int:
    """Return 1 where more is better, -1 where less is better, 0 where neither is."""
    if score in NEITHER:
        return 0
    family = score.partition(".")[0]
    return -1 if {score, family} & {*LOWER_IS_BETTER} else 1 if family in HIGHER_IS_BETTER else 0


def interval_of(found: dict[str, Any] | None) -> list[float] | None:
    """Return [low, high] of a mapping that has both as finite numbers, else None."""
    bounds = [(found or {}).get("low"), (found or {}).get("high")]
    return bounds if all(map(is_finite, bounds)) else None


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
