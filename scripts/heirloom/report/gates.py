"""Does a run keep its gates? A bound is kept when the unfavourable end of the 95 % interval keeps it.

Intervals are those of the metrics files, and the number of prompts from which they count is that of all verdicts. Of
the lm-evaluation-harness they are 1.96 standard errors to each side. Two runs are compared as on the page of all runs:
their answers are not paired, which makes the interval wider, never narrower.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from heirloom.config.sections.gates import Gate, parse_gate
from heirloom.evaluation.intervals import Z, wilson
from heirloom.report.scores import FEWEST, direction_of, flat_scores, interval_of, is_finite, stderr_of
from heirloom.report.seeds import compare, summary

MOST_PROMPTS = 10_000_000
Found = dict[str, Any]
"""Of a gate: "name", "said", "passed", "value", "interval" ([low, high] or None), "why" (a sentence)."""


def check_gates(
    gates: dict[str, str], evaluation: Found, harness: Found, others: dict[str, tuple[Found, Found]]
) -> list[Found]:
    """Return what is found of each gate, in the order of the config.

    `evaluation` and `harness` are the run's metrics files, empty without one; `others` the same two of each run that a
    gate names, as far as they are there.
    """
    found = []
    for name, said in gates.items():
        gate = parse_gate(name, said)
        own = measured(gate, evaluation, harness)
        than = measured(gate, *others.get(gate.than, ({}, {}))) if gate.than is not None else None
        found.append({"name": name, "said": said, **decided(gate, own, than, evaluation)})
    return found


def measured(gate: Gate, evaluation: Found, harness: Found) -> Found | None:
    """Return "mean", "interval", "prompts", as seeds.summary makes it, of a gate's score in a run; None without it."""
    if not gate.of_harness:
        value = flat_scores(evaluation).get(gate.score)
        return summary([(value, evaluation.get("interval", {}).get(gate.score) or {})]) if is_finite(value) else None
    for task, scores in harness.items():
        name = gate.score.removeprefix(f"{task}.")
        if name != gate.score and is_finite(scores.get(name)):
            error = scores.get(stderr_of(name))
            half = Z * error if is_finite(error) and error > 0 else None
            limits = {} if half is None else {"low": scores[name] - half, "high": scores[name] + half}
            return summary([(scores[name], limits)])
    return None


def decided(gate: Gate, own: Found | None, than: Found | None, evaluation: Found) -> Found:
    """Return "passed", "value", "interval" and "why" of one gate."""
    if own is None or (gate.than is not None and than is None):
        return lost(None, None, f"{gate.than if own is not None else 'the run'} has no score {gate.score}")
    if gate.relation != "not worse":
        return kept(own["mean"], own["interval"], own["prompts"], gate.bound, gate.relation)
    if than is not None:
        (row,) = compare({gate.score: than}, {gate.score: own})
        prompts = min(filter(None, (own["prompts"], than["prompts"])), default=None)
        value, interval = row["difference"], row["interval"]
    else:
        change = evaluation.get("change", {}).get(gate.score, {})
        value, interval, prompts = change.get("difference"), interval_of(change), change.get("prompts")
    direction = 1 if gate.of_harness else direction_of(gate.score)
    if direction == 0:
        return lost(value, interval, f"of {gate.score} it is not known whether more is better: give a bound for it")
    if value is None:
        return lost(None, None, f"the base has no score {gate.score}")
    bound, relation = (-gate.bound, ">=") if direction > 0 else (gate.bound, "<=")
    return kept(value, interval, prompts, bound, relation)


def kept(value: float, interval: list[float] | None, prompts: int | None, bound: float, relation: str) -> Found:
    """Return whether a value keeps a bound with its whole interval, and if not, why and how many prompts would do."""
    sign = 1 if relation == ">=" else -1
    if interval is None or interval[0] == interval[1]:
        return lost(value, interval, "cannot decide: the score has no interval, as its rows do not vary or are too few")
    end = interval[0] if sign > 0 else interval[1]
    said = f"{value:.4g} ({interval[0]:.4g} to {interval[1]:.4g})"
    if sign * (value - bound) <= 0:
        return lost(value, interval, f"{said} does not keep {relation} {bound:g}")
    if prompts is not None and prompts < FEWEST:
        return lost(value, interval, f"cannot decide: {said} is of {prompts} prompts, and {FEWEST} are the fewest")
    if sign * (end - bound) >= 0:
        return {"passed": True, "value": value, "interval": interval, "why": f"{said} keeps {relation} {bound:g}"}
    if (needed := prompts_needed(value, end, prompts, bound)) is not None:
        would_do = f"about {needed:,} prompts in place of {prompts:,} would do"
    else:
        would_do = f"about {math.ceil(((end - value) / (bound - value)) ** 2)} times as many rows would do"
    return lost(value, interval, f"cannot decide: {said} may be on either side of {relation} {bound:g}; {would_do}")


def prompts_needed(value: float, end: float, prompts: int | None, bound: float) -> int | None:
    """Return how many prompts would bring the `end` of the interval to the bound, were the value the same.

    A share's interval is Wilson's, which is asked; any other narrows with the square root of the prompts. None where
    it is not known how many there are.
    """
    if prompts is None:
        return None
    side = "low" if end < value else "high"
    if 0 <= value <= 1 and math.isclose(wilson(value, prompts)[side], end, rel_tol=1e-9, abs_tol=1e-12):
        few, many = prompts, prompts
        while abs(wilson(value, many)[side] - value) > abs(bound - value) and many < MOST_PROMPTS:
            few, many = many, 2 * many
        while many - few > 1:
            middle = (few + many) // 2
            enough = abs(wilson(value, middle)[side] - value) <= abs(bound - value)
            few, many = (few, middle) if enough else (middle, many)
        return many
    return math.ceil(prompts * ((end - value) / (bound - value)) ** 2)


def lost(value: float | None, interval: list[float] | None, why: str) -> Found:
    return {"passed": False, "value": value, "interval": interval, "why": why}


def add_others(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the metrics files of the runs which a gate names."""
    how = {"nargs": "+", "type": run_and_file, "default": [], "metavar": "RUN=FILE"}
    parser.add_argument("--against-evaluation", help="scores of the runs that a gate names, JSON", **how)
    parser.add_argument("--against-harness", help="theirs of the lm-evaluation-harness, JSON", **how)


def run_and_file(words: str) -> tuple[str, Path]:
    """Return both sides of `RUN=FILE`. Raises argparse's error for anything else."""
    name, _, file = words.partition("=")
    if not (name and file):
        raise argparse.ArgumentTypeError(f"expected RUN=FILE, a metrics file of another run, not {words!r}")
    return name, Path(file)
