"""The settings of a sweep by one score: what is best, and what cannot be told from it.

Runs that differ only in their seed are one setting. A setting is called worse than the best only where the one rule of
reports says so (heirloom.report.scores): its mean lies lower by more than both intervals, over seeds and prompts, leave
open. All others may be as good.
"""

from dataclasses import dataclass
from typing import Any

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.errors import HeirloomError
from heirloom.report.run_config import Config
from heirloom.report.scores import direction_of, flat_scores, harness_rows, with_harness
from heirloom.report.seeds import compare, group_scores, seed_groups


@dataclass(frozen=True)
class Rank:
    """One setting of a sweep."""

    runs: list[str]
    """Its members: one for each seed."""
    score: dict[str, Any]
    """Of the metric: "mean", "spread", "interval", "seeds", "prompts" (heirloom.report.seeds)."""
    verdict: str
    """Beside the best: "best", "worse", or why it is not called worse."""


def rank(
    configs: dict[str, Config], results: dict[str, dict[str, dict[str, Any]]], metric: str, higher: bool | None = None
) -> list[Rank]:
    """Return the settings of the runs in `results` by a score, the best first.

    `results` has for each run what its metrics files say, by "training", "evaluation" and "harness"; `higher` says
    whether more of the metric is better where that is not known. Raises HeirloomError for a metric that none of the
    runs has, or of which nobody says what is better.
    """
    evaluations = {name: scores_of(found) for name, found in results.items()}
    groups = [
        (names, scores)
        for names in seed_groups({name: configs[name] for name in results})
        if metric in (scores := group_scores([evaluations[name] for name in names]))
    ]
    if not groups:
        known = sorted({name for found in evaluations.values() for name in flat_scores(found)})
        raise HeirloomError(f"no run has a score {metric}; {did_you_mean(metric, known, 'there are')}")
    direction = direction_of(metric.rpartition(".")[2] if metric.startswith("training.") else metric)
    if higher is not None:
        if direction and direction != (1 if higher else -1):
            says = f"GREATER_IS_BETTER={'true' if higher else 'false'}"
            raise HeirloomError(f"{says}: {'more' if direction > 0 else 'less'} of {metric} is better; leave it out")
        direction = 1 if higher else -1
    if not direction:
        raise HeirloomError(
            f"whether more of {metric} is better is not known here: say GREATER_IS_BETTER=true or =false"
        )
    groups.sort(key=lambda group: -direction * group[1][metric]["mean"])
    best = groups[0][1]
    return [
        Rank(names, scores[metric], "best" if scores is best else beside(metric, best[metric], scores[metric]))
        for names, scores in groups
    ]


def beside(metric: str, best: dict[str, Any], other: dict[str, Any]) -> str:
    """Return what can be said of a setting whose mean lies no better than the best one."""
    if best["mean"] == other["mean"]:
        return "the same"
    verdict = compare({metric: best}, {metric: other})[0]["verdict"]
    return "worse" if verdict in ("better", "worse", "higher", "lower") else verdict


def scores_of(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a run's evaluation, its other scores beside: `training.after.perplexity`, `TASK.acc` of the harness."""
    scores = with_harness(found.get("evaluation", {}), harness_rows(found.get("harness", {})))
    return scores | ({"training": found["training"]} if "training" in found else {})
