"""Times, and money where a price is recorded, of the stages behind a report: from .heirloom/records, if they are here.

Records are no content: they differ between two executions, and a stage that was restored instead of executed has none.
What is not recorded is said to be so; nothing is estimated.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RECORDS = Path(".heirloom/records")


def read_records(stages: Iterable[str], folder: Path = RECORDS) -> dict[str, Any]:
    """Return {"rows", "recorded", "seconds", "usd", "priced"}: a row a stage, and sums over those that are recorded.

    A row is {"stage", "record" (None when there is none), "usd" (None when no price is recorded)}.
    """
    rows = []
    for stage in stages:
        record = read_record(folder / f"{stage}.json")
        rows.append({"stage": stage, "record": record, "usd": cost(record) if record else None})
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
    """Return what was recorded of a stage's last execution in this clone; None without a record."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def cost(record: dict[str, Any]) -> float | None:
    """Return the US dollars of an execution from the record's `price`; None without one.

    `price` is {"usd_per_hour": of one instance, "instances": how many}.
    """
    price = record.get("price")
    if not price:
        return None
    return record["seconds"] / 3600 * price["usd_per_hour"] * price["instances"]
