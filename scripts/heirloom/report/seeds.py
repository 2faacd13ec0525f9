"""Runs that differ only in their seed are samples of one thing: their mean, their spread, and comparisons of means."""

import json
import math
import statistics
from collections.abc import Iterator
from typing import Any

from heirloom.report.run_config import Config
from heirloom.report.scores import direction_of, flat_scores, interval_of, is_finite, verdict

ALL_PAIRS = 30
"""Groups of runs up to which a page compares any two."""

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
    """Return score → {"mean", "spread", "interval", "seeds", "prompts"} over the evaluations of one group.

    `spread` is the standard deviation between seeds (None with one seed). `interval` is the 95 % interval of the mean:
    Student's t over the seeds, or the mean of those over the prompts, whichever is wider; None where neither is known.
    A score that some of the runs lack is left to those that have it.
    """
    found: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for evaluation in evaluations:
        for name, value in flat_scores(evaluation).items():
            if is_finite(value):
                found.setdefault(name, []).append((value, evaluation.get("interval", {}).get(name) or {}))
    return {name: summary(measured) for name, measured in found.items()}


def summary(measured: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    """Return the mean of (value, interval over prompts as the metrics file has it) with what is known of its noise."""
    values = [value for value, _ in measured]
    mean = statistics.fmean(values)
    prompts = [found["prompts"] for _, found in measured if "prompts" in found]
    limits = [interval for _, found in measured if (interval := interval_of(found)) is not None]
    spread = statistics.stdev(values) if len(values) > 1 else None
    intervals = [[statistics.fmean(ends) for ends in zip(*limits, strict=True)]] if limits else []
    if spread is not None:
        half = t_quantile(len(values) - 1) * spread / math.sqrt(len(values))
        intervals.append([mean - half, mean + half])
    interval = max(intervals, key=lambda one: one[1] - one[0], default=None)
    return {
        "mean": mean,
        "spread": spread,
        "interval": interval,
        "seeds": len(values),
        "prompts": min(prompts, default=None),
    }


def t_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t; beyond the table its last, which is a little too large."""
    return T_QUANTILES[min(degrees, len(T_QUANTILES)) - 1]


def pairs_to_compare(groups: list[dict[str, Any]], configs: dict[str, Config]) -> list[tuple[int, int]]:
    """Return which groups ("runs", "scores") are compared, as their places (earlier, later).

    All with all, up to ALL_PAIRS groups. Of more, each with those that it stands on and with the best of each score:
    what grows with the square of the runs took 41 of the 48 MB of a page of 200.
    """
    places = range(len(groups))
    if len(groups) <= ALL_PAIRS:
        return [(first, second) for second in places for first in range(second)]
    place_of = {name: place for place in places for name in groups[place]["runs"]}
    wanted = {
        (place_of[base], place_of[name]) for name in place_of for base in bases(name, configs) if base in place_of
    }
    best = best_of_scores(groups)
    wanted |= {(place, other) for place in places for other in best}
    return sorted({(min(pair), max(pair)) for pair in wanted if pair[0] != pair[1]}, key=lambda pair: pair[::-1])


def bases(name: str, configs: dict[str, Config]) -> Iterator[str]:
    """Yield the runs that a run stands on, the nearest first."""
    while (name := configs[name].get("base")) in configs:
        yield name


def best_of_scores(groups: list[dict[str, Any]]) -> set[int]:
    """Return the places of the groups with the best mean of a score of which it is known what is better."""
    best: dict[str, tuple[float, int]] = {}
    for place, group in enumerate(groups):
        for name, score in group["scores"].items():
            if direction := direction_of(name):
                found = direction * score["mean"]
                best[name] = max(best.get(name, (found, place)), (found, place), key=lambda one: one[0])
    return {place for _, place in best.values()}


def compare(first: dict[str, dict[str, Any]], second: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each score that both groups have: second minus first, its 95 % interval, the verdict.

    The distances to the ends of both intervals are added in squares, as those of independent means (Newcombe,
    Statistics in Medicine 17, 1998, method 10); at least as wide as the interval of Cochran and Cox (Experimental
    Designs, 1957) for means with unequal variances. Answers to the same prompts are not paired here, which makes it
    wider still.
    """
    rows = []
    for name in (name for name in first if name in second):
        one, two = first[name], second[name]
        difference = two["mean"] - one["mean"]
        change = {"prompts": min(filter(None, (one["prompts"], two["prompts"])), default=None)}
        if one["interval"] is not None and two["interval"] is not None:
            (low, high), (lower, higher) = one["interval"], two["interval"]
            change["low"] = difference - math.hypot(two["mean"] - lower, high - one["mean"])
            change["high"] = difference + math.hypot(higher - two["mean"], one["mean"] - low)
        rows.append(
            {
                "name": name,
                "first": one["mean"],
                "second": two["mean"],
                "difference": difference,
                "interval": interval_of(change),
                "verdict": verdict(name, change),
                "one_seed": min(one["seeds"], two["seeds"]) == 1,
            }
        )
    return rows
