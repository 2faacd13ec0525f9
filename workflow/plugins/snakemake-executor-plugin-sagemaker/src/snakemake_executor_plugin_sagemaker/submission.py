"""CreateTrainingJob with all that can come between: quota, capacity, throttling, errors of AWS, a lost answer."""

import random
import threading
import time
from datetime import UTC, datetime

from .alternatives import Alternatives
from .flights import Flight, Flights
from .journal import Journal
from .names import training_job_name
from .outcomes import Meaning, of_creation_error
from .settings import ExecutorSettings

_LONGEST_WAIT = 16  # times retry_wait
_TOLD_AGAIN = 3600.0  # seconds after which a wait for a quota is told once more


class SubmissionError(Exception):
    """A job that cannot be submitted, now or later."""


class Submitter:
    """Submits flights, and decides when one that came back is submitted again."""

    def __init__(
        self,
        client,
        settings: ExecutorSettings,
        journal: Journal,
        flights: Flights,
        logger,
        alternatives: Alternatives | None = None,
    ):
        self._client, self._settings, self._journal = client, settings, journal
        self._flights, self._logger, self._alternatives = flights, logger, alternatives
        self._lock = threading.Lock()
        self._stopped = False
        self._full: dict[tuple, float] = {}  # kind of instance → when its quota was found exhausted
        self._told: dict[str, float] = {}  # key of a flight → when it was last told that it waits for a quota

    def submit(self, flight: Flight) -> None:
        """Submit FLIGHT, or postpone it when AWS cannot take it now. Raises SubmissionError when it never will."""
        with self._lock:
            if self._stopped:
                return
            name = training_job_name(flight.label, self._settings.s3_prefix, flight.key)
            flight.training_job, flight.created = name, datetime.now(UTC)
            self._journal.open(name, flight.key)
            flight.creating = True
            try:
                self._client.create_training_job(TrainingJobName=name, **flight.request)
            except Exception as error:  # noqa: BLE001 - every error is given a meaning
                flight.creating = False
                meaning, text = of_creation_error(error)
                # The name is new: if a job has it, an earlier try of botocore's got through and its answer was lost.
                if meaning is not Meaning.EXISTS:
                    self._journal.close(name)
                    self.again(flight, meaning, text)
                    return
            flight.creating, flight.submitted, flight.unseen, flight.state = False, True, 0, None
            self._full.pop(flight.kind, None)
        self._logger.info(f"Submitted training job {name}.")

    def submit_waiting(self) -> list[tuple[Flight, SubmissionError]]:
        """Submit the flights that are due; return those that cannot be submitted any more.

        When a quota is exhausted, the others that need the same instances are not tried in the same round.
        """
        failed, started = [], time.monotonic()
        for flight in self._flights.waiting():
            if flight.due > time.monotonic() or self._full.get(flight.kind, 0) >= started:
                continue
            try:
                self.submit(flight)
            except SubmissionError as error:
                failed.append((flight, error))
        return failed

    def again(self, flight: Flight, meaning: Meaning, text: str) -> None:
        """Postpone FLIGHT. Raises SubmissionError when MEANING says that it has failed, or too often."""
        limits = {
            Meaning.CAPACITY: self._settings.capacity_retries,
            Meaning.THROTTLED: self._settings.capacity_retries,
            Meaning.PLATFORM: self._settings.platform_retries,
            Meaning.QUOTA: None,
        }
        if meaning not in limits:
            raise SubmissionError(text)
        limit = limits[meaning]
        tries = flight.tries[meaning]
        if limit is not None and tries >= limit:
            raise SubmissionError(f"after {tries + 1} tries: {text}")
        flight.tries[meaning] += 1
        seconds = self._settings.retry_wait * min(2**tries, _LONGEST_WAIT) * random.uniform(0.8, 1.2)
        flight.postpone(seconds)
        if meaning is Meaning.QUOTA:
            self._full[flight.kind] = time.monotonic()
        if meaning is Meaning.CAPACITY and self._alternatives and self._alternatives.choose(flight):
            return
        now = time.monotonic()
        if meaning is not Meaning.QUOTA or not tries or now - self._told.get(flight.key, now) >= _TOLD_AGAIN:
            self._told[flight.key] = now
            self._logger.info(f"{flight.label} waits {seconds:.0f} s and is submitted again ({meaning.value}): {text}")

    def slot_freed(self, kind: tuple) -> None:
        """Let the first flight that waits for this kind of instances try at once."""
        for flight in self._flights.waiting():
            if flight.kind == kind and flight.tries[Meaning.QUOTA]:
                flight.due = 0.0
                self._full.pop(kind, None)
                return

    def stop(self) -> None:
        """Submit nothing any more; when this returns, no submission is under way."""
        self._stopped = True
        if self._lock.acquire(timeout=60):
            self._lock.release()
