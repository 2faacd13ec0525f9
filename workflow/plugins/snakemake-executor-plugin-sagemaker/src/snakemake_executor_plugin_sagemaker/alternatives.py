"""Which of a job's instance types is asked for: the next one when there has been no capacity of one for a while.

A job that goes on from what it keeps below PREFIX/checkpoints needs as many ranks as before: its shards fit no other
number. So a type with another number of ranks is taken only while nothing is kept; else the job waits on, and a person
is told what a change would cost.
"""

import time

from botocore.exceptions import BotoCoreError, ClientError

from .flights import Flight
from .names import key_part
from .objects import ObjectStore

WAITING = ("Starting", "Pending")  # secondary statuses of a job that has no machines yet
_NOTHING = 4096  # bytes of a file that is worth nothing: a claim, a note


class Alternatives:
    """Chooses among instance types; WAIT: seconds without capacity of one until another is chosen."""

    def __init__(self, store: ObjectStore, wait: float, logger):
        self._store, self._wait, self._logger = store, wait, logger
        self._told: set[tuple[str, int]] = set()  # key of a flight and choice of which it was told why not

    def note_state(self, flight: Flight, secondary_status: str) -> None:
        """Note since when the training job of FLIGHT has no machines; SECONDARY_STATUS is what SageMaker says."""
        if secondary_status not in WAITING:
            flight.lacking_since = None
        elif flight.lacking_since is None:
            flight.lacking_since = time.monotonic()

    def is_due(self, flight: Flight) -> bool:
        """Say whether FLIGHT has waited long enough for one type, and there is another that it may have."""
        since = flight.lacking_since
        overdue = since is not None and time.monotonic() - since >= self._wait
        return overdue and self._following(flight) is not None

    def choose(self, flight: Flight) -> bool:
        """Have FLIGHT ask for its next instance type where that is due; False where it asks for the same again."""
        if flight.lacking_since is None:
            flight.lacking_since = time.monotonic()
        if not self.is_due(flight):
            return False
        before, choice = flight.instance_type, self._following(flight)
        flight.choose(choice)
        self._logger.info(f"{flight.label}: no capacity of {before}, {flight.instance_type} is asked for now.")
        return True

    def _following(self, flight: Flight) -> int | None:
        """Return the next choice, None where there is none that may be taken."""
        number = len(flight.resources.instance_types)
        others = [(flight.choice + step) % number for step in range(1, number)]
        same = [choice for choice in others if flight.resources.same_ranks(flight.choice, choice)]
        if len(same) == len(others) or not flight.resources.checkpoints:
            return next(iter(others), None)
        kept = self._kept(flight)
        if not kept:
            return others[0]
        if (flight.key, flight.choice) not in self._told:
            self._told.add((flight.key, flight.choice))
            names = ", ".join(flight.resources.instance_types[choice] for choice in others if choice not in same)
            self._logger.warning(
                f"{flight.label}: there is no capacity of {flight.instance_type}; on {names} it would have another "
                f"number of ranks, and {kept} would be lost: those are not taken. To begin anew there, delete it"
            )
        return next(iter(same), None)

    def _kept(self, flight: Flight) -> str:
        """Return what the job keeps on S3, in words; empty for nothing."""
        parts = ("checkpoints", key_part(flight.key))
        try:
            sizes = [size for size in self._store.sizes(*parts) if size > _NOTHING]
        except (ClientError, BotoCoreError) as error:
            return f"what may be below {self._store.uri(*parts)} ({error})"
        return f"{len(sizes)} files ({sum(sizes) / 1e9:.1f} GB) below {self._store.uri(*parts)}" if sizes else ""
