"""Scores by their nested keys in the metrics file, and what that file says of them."""

from dataclasses import dataclass, field
from typing import Any

from heirloom.evaluation.intervals import Statistic, change_interval, resampled, score_interval

Keys = tuple[str, ...]
"""The nested keys of a score in the metrics file."""


@dataclass
class Scores:
    """Scores by their keys: those that follow from sums over prompts, and thus have an interval, and the others."""

    statistics: dict[Keys, Statistic] = field(default_factory=dict)
    others: dict[Keys, Any] = field(default_factory=dict)

    def update(self, more: "Scores") -> None:
        """Take over the scores of `more`."""
        self.statistics |= more.statistics
        self.others |= more.others

    def nested(self) -> dict[str, Any]:
        """Return the scores as the metrics file holds them."""
        tree: dict[str, Any] = {}
        values = {keys: statistic.value for keys, statistic in self.statistics.items()}
        for keys, value in (values | self.others).items():
            place = tree
            for key in keys[:-1]:
                place = place.setdefault(key, {})
            place[keys[-1]] = value
        return tree


def score_report(run: Scores, base: Scores | None) -> dict[str, Any]:
    """Return the run's scores with `interval`, and with a scored base also `base` and `change`, paired by prompt.

    Intervals stand under the dotted keys of their scores. Raises HeirloomError when run and base were scored on
    different prompts.
    """
    draws = resampled(run.statistics)
    report = run.nested()
    intervals = {".".join(keys): score_interval(run.statistics[keys], values) for keys, values in draws.items()}
    if any(intervals.values()):
        report["interval"] = {name: found for name, found in intervals.items() if found}
    if base is not None:
        report["base"] = base.nested()
        others = in_the_same_order(base, run)
        report["change"] = {
            ".".join(keys): change_interval(
                run.statistics[keys],
                others[keys],
                [own - other for own, other in zip(draws[keys], values, strict=True)],
            )
            for keys, values in resampled(others).items()
        }
    return report


def in_the_same_order(base: Scores, run: Scores) -> dict[Keys, Statistic]:
    """Return the base's statistics, each with its prompts in the order of the run's, so that draws fall in pairs."""
    return {
        keys: base.statistics[keys].in_order_of(own) for keys, own in run.statistics.items() if keys in base.statistics
    }
