"""A flight: one Snakemake job on its way through one or more training jobs."""

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from .request import on_instance_type
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
    choice: int = 0  # which of the instance types is asked for
    lacking_since: float | None = None  # time.monotonic() since when there is no capacity of it
    training_job: str | None = None
    created: datetime | None = None
    creating: bool = False  # CreateTrainingJob was called and has not answered
    submitted: bool = False
    due: float = math.inf  # time.monotonic() of the next submission; the first one is not waited for
    tries: Counter = field(default_factory=Counter)
    attempts: list[dict] = field(default_factory=list)
    state: tuple[str, str] | None = None
    replaced: bool = False  # the training job is being stopped, in favour of one on other machines
    unseen: int = 0  # polls in a row that did not find the training job

    @property
    def kind(self) -> tuple[str, bool, bool]:
        """What one quota counts: instance type, spot, warm pool."""
        return self.instance_type, self.resources.spot, bool(self.resources.keep_alive)

    @property
    def instance_type(self) -> str:
        """The instance type that is asked for now."""
        return self.resources.instance_types[self.choice]

    def choose(self, choice: int) -> None:
        """Ask for another of the instance types, at once."""
        self.choice, self.lacking_since, self.due = choice, None, 0.0
        self.request = on_instance_type(self.request, self.resources, self.instance_type)

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
