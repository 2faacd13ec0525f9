"""All runs as one table, small enough for a thousand of them: what differs between their configs, and their scores."""

import json
from collections.abc import Collection
from typing import Any

from heirloom.report.run_config import Config, flat_config

SIDE_BY_SIDE = 12
"""Runs up to which their page holds curves and answers of all; those of more stand on each run's own page."""
IDLE = ("gates",)
"""Parts of a config that decide no result, so that a column of them tells nothing of the scores."""


def runs_table(groups: list[dict[str, Any]], configs: dict[str, Config], linked: Collection[str]) -> dict[str, Any]:
    """Return {"keys", "scores", "rows"}: a row a group of runs that differ in their seed alone.

    `keys`: the fields in which the configs differ; `scores`: the names of all scores. A row is {"runs", "linked",
    "values": [value of each key, None where a config lacks it], "scores": [[mean, low, high, spread, seeds], or None]}.
    """
    flat = [flat_config(configs[group["runs"][0]]) for group in groups]
    keys = [key for key in dict.fromkeys(key for each in flat for key in each) if differs(key, flat)]
    scores = list(dict.fromkeys(name for group in groups for name in group["scores"]))
    rows = [
        {
            "runs": group["runs"],
            "linked": [name for name in group["runs"] if name in linked],
            "values": [each.get(key) for key in keys],
            "scores": [cell(group["scores"].get(name)) for name in scores],
        }
        for group, each in zip(groups, flat, strict=True)
    ]
    return {"keys": keys, "scores": scores, "rows": rows}


def differs(key: str, flat: list[dict[str, Any]]) -> bool:
    """Say whether a field has several values, the seed aside, over which scores are means."""
    if key == "training.seed" or key.partition(".")[0] in IDLE:
        return False
    return len({json.dumps(each.get(key), sort_keys=True, default=str) for each in flat}) > 1


def cell(score: dict[str, Any] | None) -> list[float | int | None] | None:
    """Return what a score's cell needs, with as many digits as can be read."""
    if score is None:
        return None
    low, high = score["interval"] or (None, None)
    return [*map(significant, (score["mean"], low, high, score["spread"])), score["seeds"]]


def significant(value: float | None) -> float | None:
    """Return six digits of a number: more than a page shows, and short in its data."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def compact_comparisons(comparisons: list[dict[str, Any]], scores: list[str]) -> list[list[Any]]:
    """Return each comparison as [first, second, rows], a row as [place in `scores`, difference, low, high, verdict, one
    seed]; the two means are in the table.
    """
    return [
        [
            each["first"],
            each["second"],
            [
                [
                    scores.index(row["name"]),
                    *map(significant, (row["difference"], *(row["interval"] or (None, None)))),
                    row["verdict"],
                    row["one_seed"],
                ]
                for row in each["rows"]
            ],
        ]
        for each in comparisons
    ]


def common_and_own(flat: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return {"common", "own"}: the fields that all configs have alike once, and those in which they differ by run."""
    first = next(iter(flat.values()), {})
    missing = object()
    common = {
        key: value for key, value in first.items() if all(each.get(key, missing) == value for each in flat.values())
    }
    own = {name: {key: value for key, value in each.items() if key not in common} for name, each in flat.items()}
    return {"common": common, "own": own}
