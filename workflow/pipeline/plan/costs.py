"""What jobs on SageMaker were billed, from the records that the executor plugin writes beside the ledger."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.estimates.prices import Prices, read_prices
from heirloom.estimates.setups import json_object
from pipeline.paths import COSTS


@dataclass
class Bill:
    """Sums over attempts of jobs; `unpriced` are those whose price is not known."""

    hours: float = 0.0
    dollars: float = 0.0
    attempts: int = 0
    unpriced: int = 0

    def add(self, hours: float, dollars: float | None) -> None:
        """Add one attempt: hours of all its instances together."""
        self.hours += hours
        self.attempts += 1
        self.dollars += dollars or 0.0
        self.unpriced += dollars is None


def bills(folder: Path = COSTS, prices: Prices | None = None) -> dict[str, dict[str, Bill]]:
    """Return "run", "month" and "kind" → name → what was billed. Records of another form are passed over.

    `prices` stand in where a job did not know its price. Raises HeirloomError for a file of prices that is wrong.
    """
    prices = read_prices() if prices is None else prices
    found: dict[str, dict[str, Bill]] = {"run": {}, "month": {}, "kind": {}}
    for job, attempt in attempts(folder):
        kind, _, subject = job.partition("-")
        seconds, count, created = (attempt.get(key) for key in ("billable_seconds", "instance_count", "created"))
        if not (type(seconds) is int and type(count) is int and seconds >= 0 and count > 0):
            continue
        dollars = attempt.get("cost_usd")
        if type(dollars) not in (int, float) or not math.isfinite(dollars):
            dollars = prices.dollars(str(attempt.get("instance_type")), count, seconds)
        month = created[:7] if isinstance(created, str) else "unknown"
        for table, name in (("run", subject), ("month", month), ("kind", kind)):
            found[table].setdefault(name, Bill()).add(seconds * count / 3600, dollars)
    return found


def attempts(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (stage, record) of each attempt of a job; what has another form is passed over."""
    for file in sorted(folder.glob("*.json")):
        given = (json_object(file) or {}).get("attempts")
        for attempt in given if isinstance(given, list) else ():
            if isinstance(attempt, dict):
                yield file.stem, attempt


def spot_shares(folder: Path = COSTS) -> dict[str, tuple[float, int]]:
    """Return instance type → the share of its seconds that attempts on spot capacity were billed, and their number.

    AWS gives the savings as 1 - BillableTimeInSeconds / TrainingTimeInSeconds.
    """
    seconds: dict[str, list[tuple[int, int]]] = {}
    for _, attempt in attempts(folder):
        billed, ran = attempt.get("billable_seconds"), attempt.get("training_seconds")
        if attempt.get("spot") is True and type(billed) is int and type(ran) is int and 0 < billed <= ran:
            seconds.setdefault(str(attempt.get("instance_type")), []).append((billed, ran))
    return {
        name: (sum(billed for billed, _ in rows) / sum(ran for _, ran in rows), len(rows))
        for name, rows in seconds.items()
    }


def costs_text(found: dict[str, dict[str, Bill]]) -> str:
    """Return the bills as lines of text; one sentence where nothing was billed."""
    if not found["run"]:
        return f"no job is recorded in {COSTS}/"
    lines = []
    for table, rows in found.items():
        width = max(len(name) for name in rows)
        for name, bill in sorted(rows.items()):
            unknown = f", price unknown of {bill.unpriced} of {bill.attempts}" if bill.unpriced else ""
            lines.append(f"{table:5}  {name:{width}}  {bill.hours:9.2f} h  ${bill.dollars:,.2f}{unknown}")
    return "\n".join(lines)
