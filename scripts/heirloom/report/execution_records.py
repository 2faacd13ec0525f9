"""Times, and money where a cost is recorded, of the stages behind a report: from .heirloom, if they are here.

Records are no content: they differ between two executions, and a stage that was restored instead of executed has none.
What is not recorded is said to be so; nothing is estimated.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RECORDS = Path(".heirloom/records")
COSTS = Path(".heirloom/costs")
"""What the executor plugin for SageMaker writes of its jobs."""


def read_records(stages: Iterable[str], folder: Path = RECORDS, costs: Path = COSTS) -> dict[str, Any]:
    """Return {"rows", "recorded", "seconds", "usd", "priced"}: a row a stage, and sums over those that are recorded.

    A row is {"stage", "record" (None when there is none), "usd" (None when no cost is recorded)}.
    """
    rows = []
    for stage in stages:
        record = read_record(folder / f"{stage}.json")
        rows.append({"stage": stage, "record": record, "usd": cost(record, read_record(costs / f"{stage}.json"))})
    recorded = [row["record"] for row in rows if row["record"]]
    priced = [row["usd"] for row in rows if row["usd"] is not None]
    return {
        "rows": rows,
        "recorded": len(recorded),
        "seconds": sum(record["seconds"] for record in recorded),
        "usd": sum(priced) if priced else None,
        "priced": len(priced),
    }


def read_record(file: Path) -> dict[str, Any] | None:
    """Return what was recorded of a stage's last execution in this clone; None without a record that can be read."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def cost(record: dict[str, Any] | None, job: dict[str, Any] | None) -> float | None:
    """Return the US dollars of an execution, None where they are not known.

    `job` is what was paid for a stage's last job, under the identity that was executed (`job_key`); a later execution
    elsewhere was not that job.
    """
    if record is None or job is None or job["job_key"] != record.get("identity"):
        return None
    return job["cost_usd"]
