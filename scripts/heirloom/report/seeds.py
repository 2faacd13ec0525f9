"""Runs that differ only in their seed are samples of one thing: their mean, their spread, and comparisons of means."""

import json
import math
import statistics
from typing import Any

from heirloom.report.run_config import Config
from heirloom.report.scores import flat_scores, interval_of, is_finite, verdict

T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The 97.5 % quantile of Student's t distribution for 1, 2, … 30 degrees of freedom (any table of it)."""


def seed_groups(configs: dict[str, Config]) -> list[list[str]]:
    """Return the names of the runs in groups whose configs are equal but for `training.seed`, in the order given."""
    groups: dict[str, list[str]] = {}
    for name, config in configs.items():
        training = {key: value for key, value in (config.get("training") or {}).items() if key != "seed"}
        key = json.dumps({**config, "training": training}, sort_keys=True, default=str)
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def group_scores(evaluations: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return score → {"mean", "spread", "half_width", "seeds"} over the evaluations of one group.

    `spread` is the standard deviation between seeds (None with one seed). `half_width` is that of a 95 % interval of
    the mean: Student's t over the seeds, or the bootstrap over the prompts, whichever is wider; None where neither is
    known. A score that some of the runs lack is left to those that have it.
    """
    found: dict[str, list[tuple[float, float | None]]] = {}
    for evaluation in evaluations:
        for name, value in flat_scores(evaluation).items():
            if is_finite(value):
                interval = interval_of(evaluation.get("interval", {}).get(name))
                half = None if interval is None else max(interval[1] - value, value - interval[0])
                found.setdefault(name, []).append((value, half))
    return {name: summary(measured) for name, measured in found.items()}


def summary(measured: list[tuple[float, float | None]]) -> dict[str, Any]:
    """Return the mean of (value, half width over prompts or None) with what is known of its noise."""
    values = [value for value, _ in measured]
    halves = [half for _, half in measured if half is not None]
    spread = statistics.stdev(values) if len(values) > 1 else None
    widths = [statistics.fmean(halves)] if halves else []
    if spread is not None:
        widths.append(t_quantile(len(values) - 1) * spread / math.sqrt(len(values)))
    return {
        "mean": statistics.fmean(values),
        "spread": spread,
        "half_width": max(widths, default=None),
        "seeds": len(values),
    }


def t_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t; beyond the table its last, which is a little too large."""
    return T_QUANTILES[min(degrees, len(T_QUANTILES)) - 1]


def compare(first: dict[str, dict[str, Any]], second: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each score that both groups have: second minus first, its 95 % interval, the verdict.

    The half widths are added in squares, as those of independent means; at least as wide as the interval of Cochran
    and Cox (Experimental Designs, 1957) for means with unequal variances. Answers to the same prompts are not paired
    here, which makes it wider still.
    """
    rows = []
    for name in (name for name in first if name in second):
        one, two = first[name], second[name]
        difference = two["mean"] - one["mean"]
        interval = None
        if one["half_width"] is not None and two["half_width"] is not None:
            half = math.hypot(one["half_width"], two["half_width"])
            interval = [difference - half, difference + half]
        rows.append(
            {
                "name": name,
                "first": one["mean"],
                "second": two["mean"],
                "difference": difference,
                "interval": interval,
                "verdict": verdict(name, interval),
                "one_seed": min(one["seeds"], two["seeds"]) == 1,
            }
        )
    return rows
