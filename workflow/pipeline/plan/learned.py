"""What earlier executions teach the next plan, from the history alone: it is in git, so every clone learns the same."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from heirloom.estimates.duration import Duration, from_record
from heirloom.records.measured import measured_of

Range = tuple[float, float, float]
"""Low, expected, high."""


@dataclass(frozen=True)
class Execution:
    """The last execution of a stage: seconds of its program, its ranks, what was measured."""

    seconds: float
    ranks: dict[str, Any]
    measured: dict[str, Any] = field(default_factory=dict)

    def was_on(self, gpus: bool, ranks: int | None) -> bool:
        """Say whether it was on the same kind of device, and on GPUs on as many of them."""
        on_gpus = self.ranks["device"] == "gpu"
        return gpus == on_gpus and (not on_gpus or self.ranks["nodes"] * self.ranks["per_node"] == ranks)

    def duration(self, now: dict[str, int | None], before: dict[str, int]) -> Duration:
        """Return how long it takes the next time, sending its result away included.

        `now`: the tokens and steps of a training that is to come; nothing for other stages. Its steps take as long as
        those that were measured; of an older record, without any, all takes as long as by the counts `before`.
        """
        steps = self.measured.get("training_s")
        counted = before if steps is None else self.measured
        share = next((now[key] / counted[key] for key in now if now[key] and counted.get(key)), 1.0)
        whole = self.seconds * share if steps is None else max(self.seconds - steps, 0.0) + steps * share
        return from_record(whole + self.measured.get("push_s", 0.0), 1.0, "its last execution")


class Learned:
    """What the history's rows say: of each stage the last execution, of each instance type what its jobs had."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.last: dict[str, Execution] = {}
        self.starts: dict[str, list[float]] = {}
        self.waits: dict[str, list[float]] = {}
        self.shares: dict[str, list[float]] = {}
        self.spot: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row["record"]:
                self.learn(row["stage"], row["record"])

    def learn(self, stage: str, record: dict[str, Any]) -> None:
        """Add one execution."""
        found = measured_of(record.get("measured"))
        self.last[stage] = Execution(record["seconds"], record["ranks"], found)
        instance = found.get("instance")
        if instance is None:
            return
        if "start_s" in found:
            self.starts.setdefault(instance, []).append(found["start_s"])
            if "ran_s" in found:
                billed = max(found["ran_s"] - record["seconds"], 0.0)  # image, inputs, and sending the result away
                self.waits.setdefault(instance, []).append(max(found["start_s"] - billed, 0.0))
        if found.get("mfu"):
            self.shares.setdefault(instance, []).append(found["mfu"])
        if found.get("spot") and 0 < found.get("billed_s", 0) <= found.get("ran_s", 0):
            self.spot.setdefault(instance, []).append((found["billed_s"], found["ran_s"]))

    def start(self, instance: str) -> Range | None:
        """Return the seconds that jobs on an instance type took to begin; None where none is known."""
        return spread(self.starts.get(instance))

    def wait(self, instance: str) -> float:
        """Return the seconds of a job's start that nobody is billed for, the wait for capacity; 0 where unknown."""
        found = self.waits.get(instance)
        return median(found) if found else 0.0

    def utilization(self, instance: str) -> tuple[Range, int] | None:
        """Return the shares of the GPUs' peak that trainings on an instance type had, and how many they were."""
        found = self.shares.get(instance)
        return found and (spread(found), len(found))

    def spot_share(self, instance: str) -> tuple[float, int] | None:
        """Return the share of their seconds that jobs on spot capacity were billed, and how many they were."""
        rows = self.spot.get(instance)
        return rows and (sum(billed for billed, _ in rows) / sum(ran for _, ran in rows), len(rows))


def spread(values: list[float] | None) -> Range | None:
    """Return the least, the median and the greatest value; None without values."""
    return (min(values), median(values), max(values)) if values else None
