"""A flight: one Snakemake job on its way through one or more training jobs."""

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from .resources import JobResources


@dataclass
class Flight:
    """State of one job. `training_job` is None before the first submission."""

    job: object
    label: str
    key: str
    resources: JobResources
    request: dict
    results: list[str]
    may_return: list[str]  # results, logs, and what `return_files` allows, with all below them
    training_job: str | None = None
    created: datetime | None = None
    creating: bool = False  # CreateTrainingJob was called and has not answered
    submitted: bool = False
    due: float = math.inf  # time.monotonic() of the next submission; the first one is not waited for
    tries: Counter = field(default_factory=Counter)
    attempts: list[dict] = field(default_factory=list)
    state: tuple[str, str] | None = None
    unseen: int = 0  # polls in a row that did not find the training job

    @property
    def kind(self) -> tuple[str, bool, bool]:
        """What one quota counts: instance type, spot, warm pool."""
        return self.resources.instance_type, self.resources.spot, bool(self.resources.keep_alive)

    def postpone(self, seconds: float) -> None:
        """Submit again after so many seconds."""
        self.submitted, self.due = False, time.monotonic() + seconds


class Flights:
    """All flights of this invocation; Snakemake's own list is empty while it asks for the state of jobs."""

    def __init__(self):
        self._lock = threading.Lock()
        self._flights: dict[int, Flight] = {}

    def add(self, flight: Flight) -> None:
        with self._lock:
            self._flights[id(flight)] = flight

    def remove(self, flight: Flight) -> None:
        with self._lock:
            self._flights.pop(id(flight), None)

    def all(self) -> list[Flight]:
        """Return the flights that have not ended."""
        with self._lock:
            return list(self._flights.values())

    def waiting(self) -> list[Flight]:
        """Return the flights that wait for being submitted (again), those that are due first at the front."""
        return sorted((flight for flight in self.all() if not flight.submitted), key=lambda flight: flight.due)
