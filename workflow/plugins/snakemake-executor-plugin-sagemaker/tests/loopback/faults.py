"""What goes wrong on request: a plan of faults, each for the jobs (or requests) that a test names.

A fault is chosen by the job's name (`job`, a prefix; empty for every job) and by counting: among the requests that
match since the fault was planned, it strikes the `nth` one (from 1) and the `times - 1` after it. For faults of a job,
what is counted is the CreateTrainingJob requests that were accepted. A request that one refusal strikes isn't seen by
the refusals planned after it: `throttling()` and then `server_error()` refuse one request each.

Faults that strike a running job wait `after` seconds from the start of training, and for `when`, a glob below /opt/ml
of any host: `when="checkpoints/step-3"` strikes once that checkpoint was begun, whatever the speed of the machine.
"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic


@dataclass(kw_only=True)
class Fault:
    """The selection that all faults share."""

    job: str = ""
    nth: int = 1
    times: int = 1
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def takes(self, job_name: str) -> bool:
        """Count one matching request; whether the fault strikes it."""
        if not job_name.startswith(self.job):
            return False
        self.seen += 1
        strikes = self.nth <= self.seen < self.nth + self.times
        self.struck += strikes
        return strikes


@dataclass(kw_only=True)
class Refusal(Fault):
    """An API request is answered with an error; `operation` "*" is every operation of every service."""

    code: str
    message: str = "Refused on request of the test."
    status: int = 400
    operation: str = "CreateTrainingJob"


@dataclass(kw_only=True)
class FaultOfMachines(Fault):
    """A fault of jobs that ask for an instance type; empty for every type."""

    instance_type: str = ""


@dataclass(kw_only=True)
class CapacityError(FaultOfMachines):
    """The job is accepted, waits `after` seconds, and fails: no instance of this type is free."""

    after: float = 0.1


@dataclass(kw_only=True)
class SlowStart(FaultOfMachines):
    """The job is Pending for so many seconds before its hosts start."""

    seconds: float


@dataclass(kw_only=True)
class LateNames(Fault):
    """The hosts' names resolve only so many seconds after the start (own name excepted); needs namespaces."""

    seconds: float = 2.0


@dataclass(kw_only=True)
class RunningFault(Fault):
    """A fault that strikes while the containers run."""

    after: float = 0.0
    when: str | None = None

    def due(self, training_since: float, trees: list[Path]) -> bool:
        """`training_since`: `time.monotonic()` at the start of training; `trees`: each host's /opt/ml."""
        if monotonic() - training_since < self.after:
            return False
        return self.when is None or any(next(tree.glob(self.when), None) for tree in trees)


@dataclass(kw_only=True)
class SpotInterruption(RunningFault):
    """SIGTERM to every host, SIGKILL after `grace` seconds, then the same job again once capacity is back.

    Strikes jobs with EnableManagedSpotTraining only. Two faults on one job interrupt two attempts.
    """

    grace: float = 1.0
    capacity_back_after: float = 0.2


@dataclass(kw_only=True)
class HostDeath(RunningFault):
    """One host's processes are killed. `silent` cuts its cable first, so that its peers' connections hang open.

    The platform notices at once and ends the job (exit code 137) unless `noticed` is false: then the other hosts run on
    until they end by themselves.
    """

    host: str = "algo-2"
    silent: bool = False
    noticed: bool = True


@dataclass(kw_only=True)
class MaxRuntimeExceeded(RunningFault):
    """The job is stopped as though MaxRuntimeInSeconds were over."""


@dataclass(kw_only=True)
class MaxWaitTimeExceeded(RunningFault):
    """The spot job is stopped as though MaxWaitTimeInSeconds were over; `after` counts from the job's creation."""


@dataclass(kw_only=True)
class PlatformError(RunningFault):
    """The job fails with InternalServerError; its containers are killed without a signal to handle."""


def throttling(*, operation: str = "*", times: int = 1, nth: int = 1, job: str = "") -> Refusal:
    """The next `times` requests are answered with ThrottlingException."""
    return Refusal(
        code="ThrottlingException", message="Rate exceeded", operation=operation, times=times, nth=nth, job=job
    )


def server_error(*, operation: str = "*", times: int = 1, nth: int = 1, job: str = "") -> Refusal:
    """The next `times` requests are answered with HTTP 500."""
    message = "The request processing has failed because of an unknown error, exception or failure."
    return Refusal(
        code="InternalFailure", message=message, status=500, operation=operation, times=times, nth=nth, job=job
    )


def quota_exceeded(*, times: int = 1, nth: int = 1, job: str = "", instance_type: str = "ml.g5.xlarge") -> Refusal:
    """The next `times` CreateTrainingJob requests are over the account's quota, as though it were in use elsewhere."""
    message = (
        f"The account-level service limit '{instance_type} for training job usage' is 1 Instances, with current "
        "utilization of 1 Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request an "
        "increase for this quota."
    )
    return Refusal(code="ResourceLimitExceeded", message=message, times=times, nth=nth, job=job)


class FaultPlan:
    """The faults of one server, in the order in which they were planned."""

    def __init__(self):
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Plan faults; each starts to count now."""
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """Forget the whole plan; a job that runs keeps the faults that it was given."""
        with self._lock:
            self._faults.clear()

    def refusal(self, operation: str, job_name: str) -> Refusal | None:
        """The refusal that strikes this API request, if any: the first one planned."""
        with self._lock:
            for fault in self._faults:
                if isinstance(fault, Refusal) and fault.operation in ("*", operation) and fault.takes(job_name):
                    return fault
        return None

    def for_job(self, job_name: str, instance_type: str) -> list[Fault]:
        """The faults of a new job."""
        with self._lock:
            return [
                fault
                for fault in self._faults
                if not isinstance(fault, Refusal)
                and getattr(fault, "instance_type", "") in ("", instance_type)
                and fault.takes(job_name)
            ]

    @property
    def unused(self) -> list[Fault]:
        """The faults that struck nothing so far, for a test to assert that it is empty."""
        with self._lock:
            return [fault for fault in self._faults if not fault.struck]
