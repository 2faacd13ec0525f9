"""What jobs on SageMaker were billed, from the records that the executor plugin writes beside the ledger."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heirloom.errors import plain
from heirloom.estimates.prices import Prices, read_prices
from heirloom.estimates.setups import json_object
from heirloom.report.execution_records import ESTIMATES, estimate_of, is_amount, is_count
from pipeline.paths import COSTS
from pipeline.records import time_of


@dataclass
class Bill:
    """Sums over attempts of jobs; `unpriced` are those whose price is not known."""

    hours: float = 0.0
    dollars: float = 0.0
    attempts: int = 0
    unpriced: int = 0
    expected: float = 0.0
    taken: float = 0.0
    """Hours that were expected, and taken, of the jobs whose estimate is kept."""

    def add(self, hours: float, dollars: float | None) -> None:
        """Add one attempt: hours of all its instances together."""
        self.hours += hours
        self.attempts += 1
        self.dollars += dollars or 0.0
        self.unpriced += dollars is None


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job: seconds that each of its instances ran and was billed; dollars, None without a price."""

    stage: str
    created: datetime | None
    month: str
    count: int
    ran: float
    billed: float
    dollars: float | None


@dataclass(frozen=True)
class Outcome:
    """An estimate of a job beside what it took: hours of all its machines, US dollars where both are known."""

    stage: str
    month: str
    low: float
    expected: float
    high: float
    took: float
    usd_expected: float | None
    usd: float | None

    def __str__(self) -> str:
        """Tell both, as people read them, and by how much more or less it took."""
        dollars = ""
        if self.usd_expected is not None and self.usd is not None:
            dollars = f"; ${self.usd_expected:,.2f} expected, ${self.usd:,.2f} billed"
        return (
            f"{self.expected:.2f} h expected ({self.low:.2f} – {self.high:.2f}), {self.took:.2f} h taken "
            f"({self.took / self.expected - 1:+.0%}){dollars}"
        )


def bills(
    folder: Path = COSTS, prices: Prices | None = None, estimates: Path = ESTIMATES
) -> dict[str, dict[str, Bill]]:
    """Return "run", "month" and "kind" → name → what was billed. Records of another form are passed over.

    `prices` stand in where a job did not know its price. Raises HeirloomError for a file of prices that is wrong.
    """
    found: dict[str, dict[str, Bill]] = {"run": {}, "month": {}, "kind": {}}
    for each in billed(folder, prices):
        for table, name in tables_of(each.stage, each.month):
            found[table].setdefault(name, Bill()).add(each.billed * each.count / 3600, each.dollars)
    for each in outcomes(folder, prices, estimates):
        for table, name in tables_of(each.stage, each.month):
            bill = found[table].setdefault(name, Bill())
            bill.expected += each.expected
            bill.taken += each.took
    return found


def tables_of(stage: str, month: str) -> tuple[tuple[str, str], ...]:
    """Return in which line of which table a job is summed up."""
    kind, _, subject = stage.partition("-")
    return ("run", subject), ("month", month), ("kind", kind)


def billed(folder: Path = COSTS, prices: Prices | None = None) -> Iterator[Attempt]:
    """Yield all attempts of all jobs; records of another form are passed over.

    Raises HeirloomError for a file of prices that is wrong.
    """
    prices = read_prices() if prices is None else prices
    for stage, attempt in attempts(folder):
        seconds, count, created = (attempt.get(key) for key in ("billable_seconds", "instance_count", "created"))
        if not (is_amount(seconds) and is_count(count)):
            continue
        dollars = attempt.get("cost_usd")
        if not is_amount(dollars):
            dollars = prices.dollars(str(attempt.get("instance_type")), count, seconds)
        ran = attempt.get("training_seconds")
        taken = ran if is_amount(ran) and ran >= seconds else seconds
        began = time_of(created)
        yield Attempt(stage, began, month_of(began), count, taken, seconds, dollars)


def month_of(created: datetime | None) -> str:
    """Return the calendar month of a time in UTC, as a budget of a month names it; "unknown" without a time."""
    try:
        return "unknown" if created is None else f"{created.astimezone(UTC):%Y-%m}"
    except OverflowError:  # within a day of the first or the last year
        return "unknown"


def outcomes(folder: Path = COSTS, prices: Prices | None = None, estimates: Path = ESTIMATES) -> list[Outcome]:
    """Return the estimates of jobs that have ended since they were made, beside what they took."""
    jobs: dict[str, list[Attempt]] = {}
    for attempt in billed(folder, prices):
        jobs.setdefault(attempt.stage, []).append(attempt)
    found = (outcome(kept, stage, jobs[stage]) for stage in jobs if (kept := estimate_of(stage, estimates)))
    return [each for each in found if each is not None]


def outcome(kept: dict[str, Any], stage: str, tries: list[Attempt]) -> Outcome | None:
    """Return an estimate beside the attempts since then; None where there was none, or nothing was expected.

    What an attempt took is the time that it ran: what spot capacity is billed of it is no error of an estimate.
    """
    quoted = time_of(kept["quoted"])
    since = [each for each in tries if quoted and each.created and each.created >= quoted]
    low, expected, high = (kept["seconds"][key] * kept["count"] / 3600 for key in ("low", "expected", "high"))
    if not since or expected <= 0:
        return None
    dollars = [each.dollars for each in since]
    usd = None if None in dollars else sum(dollars)
    took = sum(each.ran * each.count for each in since) / 3600
    return Outcome(stage, since[-1].month, low, expected, high, took, kept["usd"], usd)


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
    seconds: dict[str, list[tuple[float, float]]] = {}
    for _, attempt in attempts(folder):
        billed, ran = attempt.get("billable_seconds"), attempt.get("training_seconds")
        if attempt.get("spot") is True and is_amount(billed) and is_amount(ran) and 0 < billed <= ran:
            seconds.setdefault(str(attempt.get("instance_type")), []).append((billed, ran))
    return {
        name: (sum(billed for billed, _ in rows) / sum(ran for _, ran in rows), len(rows))
        for name, rows in seconds.items()
    }


def costs_text(found: dict[str, dict[str, Bill]], ended: Iterable[Outcome] = ()) -> str:
    """Return the bills as lines of text, and each estimate beside what the job took; a sentence without any bill."""
    if not found["run"]:
        return f"no job is recorded in {COSTS}/"
    lines = []
    for table, rows in found.items():
        width = max(len(shown(name)) for name in rows)
        for name, bill in sorted(rows.items()):
            unknown = f", price unknown of {bill.unpriced} of {bill.attempts}" if bill.unpriced else ""
            estimate = ""
            if bill.expected:
                off = bill.taken / bill.expected - 1
                estimate = f"; {bill.expected:.2f} h expected, {bill.taken:.2f} h taken ({off:+.0%})"
            lines.append(
                f"{table:5}  {shown(name):{width}}  {bill.hours:9.2f} h  ${bill.dollars:,.2f}{unknown}{estimate}"
            )
    lines += [f"estimate of {shown(each.stage)}: {each}" for each in ended]
    return "\n".join(lines)


def shown(name: str) -> str:
    """Return a name, which comes from that of a file, so that it does nothing to a terminal and ends no line."""
    return " ".join(plain(name).split())
