"""Scores of the harness in a metrics file: under its own names, with intervals, and with the change from the base."""

import math
from pathlib import Path
from typing import Any

from heirloom.evaluation.harness.samples import values_of
from heirloom.evaluation.intervals import Statistic, Z, change_interval, resampled

ABOUT_SCORES = ("interval", "base", "change")
"""Parts of the metrics file that are no task."""
Scores = dict[str, dict[str, float]]
"""Task → score → value; of a score with an error also SCORE_stderr."""


def scores_of(results: dict[str, Any]) -> Scores:
    """Return each task's numbers under the harness's names, without the filter where there is none: acc, acc_stderr."""
    return {
        task: {key.removesuffix(",none"): value for key, value in found.items() if isinstance(value, int | float)}
        for task, found in results["results"].items()
    }


def plain_scores(report: dict[str, Any]) -> Scores:
    """Return the scores of a metrics file, by task, without what it says about them."""
    return {task: found for task, found in report.items() if task not in ABOUT_SCORES}


def error_of(found: dict[str, float], score: str) -> float | None:
    """Return the standard error of a score, which the harness has as acc_stderr, or acc_stderr,filter; None without."""
    name, comma, chosen = score.partition(",")
    error = found.get(f"{name}_stderr{comma}{chosen}")
    return error if error is not None and math.isfinite(error) and error > 0 else None


def harness_report(scores: Scores, samples: Path, base: Scores | None, base_samples: Path | None) -> dict[str, Any]:
    """Return what the metrics file says: the scores, `interval`, and with a base `base` and `change`.

    An interval is 1.96 standard errors to either side. `samples` and `base_samples` hold a file a task: a score that is
    the mean of its questions' values is compared question by question, another one by both standard errors.
    """
    report: dict[str, Any] = dict(scores)
    rows = [(task, name) for task, found in scores.items() for name in found if is_score(name)]
    errors = {row: error_of(scores[row[0]], row[1]) for row in rows}
    report["interval"] = {
        f"{task}.{name}": around(scores[task][name], error) for (task, name), error in errors.items() if error
    }
    if base is None or base_samples is None:
        return report
    report["base"] = {task: base[task] for task in scores if task in base}
    report["change"] = {}
    for task, name in rows:
        if name not in base.get(task, {}):
            continue
        paired = change_by_question(task, name, (scores, samples), (base, base_samples))
        report["change"][f"{task}.{name}"] = paired or change_by_errors(scores[task], base[task], name)
    return report


def is_score(name: str) -> bool:
    """Say whether a number of a task is a score: no error, and no count of rows."""
    return "_stderr" not in name and name != "sample_len"


def around(value: float, error: float) -> dict[str, float]:
    return {"low": value - Z * error, "high": value + Z * error}


def change_by_question(
    task: str, name: str, run: tuple[Scores, Path], base: tuple[Scores, Path]
) -> dict[str, float] | None:
    """Return the change of a score, paired by question; None where it is no mean over the same questions."""
    statistics = []
    for scores, folder in (run, base):
        values = values_of(folder, task).get(name, {})
        statistic = Statistic.mean([*values], [*values.values()]) if values else None
        if statistic is None or not math.isclose(statistic.value, scores[task][name], rel_tol=1e-9, abs_tol=1e-12):
            return None
        statistics.append(statistic)
    own, other = statistics
    if own.sums.keys() != other.sums.keys():
        return None
    other = other.in_order_of(own)
    mine, theirs = (resampled({"score": each})["score"] for each in (own, other))
    return change_interval(own, other, [one - two for one, two in zip(mine, theirs, strict=True)])


def change_by_errors(own: dict[str, float], base: dict[str, float], name: str) -> dict[str, float]:
    """Return the change of a score, as wide as both standard errors make it."""
    difference = own[name] - base[name]
    errors = [error_of(found, name) for found in (own, base)]
    if not all(errors):
        return {"difference": difference}
    return {"difference": difference, **around(difference, math.hypot(*errors))}
