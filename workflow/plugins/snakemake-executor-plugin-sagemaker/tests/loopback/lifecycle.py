"""The life of a training job from Starting to its end: attempts, signals, limits and faults."""

import contextlib
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from . import container, faults
from .job import TrainingJob
from .kinds import HostKind
from .logs import CloudWatchLogs
from .sandbox import Sandbox
from .storage import CheckpointMirror, checkpoint_folder, upload_result

if TYPE_CHECKING:
    from .permissions import Permissions  # which imports moto

_TICK = 0.05  # seconds between two looks at a running job
_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
_INTERNAL = "InternalServerError: We encountered an internal error. Please try again."


@dataclass
class Platform:
    """What all jobs of a server share."""

    root: Path
    s3: Callable  # makes the client of a role: without S3 in a request none is needed
    logs: CloudWatchLogs
    image: dict[str, str]
    ports: list[int]
    hide: list[str]
    grace: float
    checkpoint_interval: float
    kind: HostKind
    container_image: str | None  # of hosts of that kind
    permissions: "Permissions | None"  # of the jobs' roles
    problems: list[str] = field(default_factory=list)  # failures of the loopback itself
    # some kinds of hosts share the machine's ports: two jobs of several hosts would meet on the rendezvous port
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Ending:
    """Why an attempt ends: completed, failed, stopped, interrupted, max_runtime, max_wait or platform."""

    kind: str
    grace: float = 0.0
    host: str = ""
    code: int = 0
    pause: float = 0.0


class Lifecycle:
    """Drives one job; `run` is the body of its thread."""

    def __init__(self, job: TrainingJob, platform: Platform):
        self._job, self._platform = job, platform
        self._faults = list(job.faults)
        self._mirrors: list[CheckpointMirror] = []
        self._attempts = 0
        self._failure = ""
        self._created = time.monotonic()
        self._limits = job.request.get("StoppingCondition", {})

    def run(self) -> None:
        try:
            self._live()
        except ClientError as error:
            self._job.finish("Failed", "Failed", reason=f"ClientError: Data transfer failed: {error}")
        except Exception as error:
            self._platform.problems.append(f"{self._job.name}: {traceback.format_exc()}")
            self._job.finish("Failed", "Failed", reason=f"InternalServerError: the loopback failed: {error!r}")

    def _live(self) -> None:
        job, permissions = self._job, self._platform.permissions
        image = job.request["AlgorithmSpecification"].get("TrainingImage", "")
        if permissions and not permissions.may_pull(job.role, image):
            return job.finish("Failed", "Failed", reason=f"ClientError: Cannot pull the image {image} with {job.role}.")
        if (fault := self._take(faults.CapacityError)) is not None:
            ending = self._pause(fault.after)
            if ending:
                return self._finish(ending)
            return job.finish("Failed", "Failed", reason=_CAPACITY)
        if (fault := self._take(faults.SlowStart)) is not None:
            job.enter("InProgress", "Pending", "Waiting for capacity")
            ending = self._pause(fault.seconds)
            if ending:
                return self._finish(ending)
            job.enter("InProgress", "Starting", "Preparing the instances for training")
        crowded = job.instance_count > 1 and not self._platform.kind.has_own_network
        with self._platform.one_at_a_time if crowded else contextlib.nullcontext():
            ending = self._attempt()
            retries = job.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
            while ending.kind == "interrupted" or (ending.kind == "platform" and retries):
                if ending.kind == "platform":
                    retries -= 1
                    job.enter("InProgress", "Restarting", "Restarting after an internal error")
                    ending = self._attempt()
                    continue
                job.enter("InProgress", "Interrupted", "Spot capacity was reclaimed")
                ending = self._pause(ending.pause)
                if not ending:
                    job.enter("InProgress", "Starting", "Preparing the instances for training")
                    ending = self._attempt()
        return self._finish(ending)

    def _take(self, kind: type, due: Callable = lambda fault: True):
        """The first planned fault of a kind that is due, taken off the plan; None if there is none."""
        for fault in self._faults:
            if isinstance(fault, kind) and due(fault):
                self._faults.remove(fault)
                return fault
        return None

    def _pause(self, seconds: float) -> Ending | None:
        """Wait for hosts; what ended the job meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._job.stop_requested.wait(min(_TICK, seconds)):
                return Ending("stopped")
            if self._waited_too_long():
                return Ending("max_wait")
        return None

    def _waited_too_long(self) -> bool:
        if not self._job.spot:
            return False
        if self._take(faults.MaxWaitTimeExceeded, lambda fault: fault.due(self._created, [])):
            return True
        return time.monotonic() - self._created > self._limits.get("MaxWaitTimeInSeconds", float("inf"))

    def _attempt(self) -> Ending:
        """Run the containers once on fresh hosts."""
        job, platform = self._job, self._platform
        self._attempts += 1
        folder = platform.root / "jobs" / job.name / str(self._attempts)
        hosts = container.hosts_of(job, folder, platform.kind)
        job.started = job.started or time.time()
        began = time.monotonic()
        job.enter("InProgress", "Downloading", "Downloading input data")
        needs_s3 = job.request.get("InputDataConfig") or job.request.get("CheckpointConfig")
        s3 = platform.s3(job.role) if needs_s3 else None
        for host in hosts:
            container.write_tree(job, host, hosts, s3)
        with contextlib.ExitStack() as at_the_end:  # in reverse: processes, logs, checkpoints
            at_the_end.callback(self._stop_mirrors)
            for host in hosts:
                self._mirror(host, s3)
            for host in hosts:
                stream = f"{job.name}/{host.name}-{time.time_ns() // 1_000_000}"
                if platform.permissions is None or platform.permissions.may_log(job.role, stream):
                    at_the_end.callback(platform.logs.open(stream, host.log).absorb, finished=True)
            job.enter("InProgress", "Training", "Training image download completed. Training in progress.")
            sandbox = self._sandbox(folder, hosts)
            at_the_end.callback(sandbox.close)
            ending = self._watch(sandbox, hosts)
        if ending.kind not in ("interrupted", "platform"):
            self._upload(hosts)
        if ending.kind == "failed":
            self._failure = self._words(next(host for host in hosts if host.name == ending.host))
        job.trained_seconds += time.monotonic() - began
        shutil.rmtree(folder)
        return ending

    def _sandbox(self, folder: Path, hosts: list[container.Host]) -> Sandbox:
        job, platform = self._job, self._platform
        late = self._take(faults.LateNames)
        image = platform.image | (platform.permissions.variables[job.role] if platform.permissions else {})
        variables = {host.name: container.environment(job, host, image, platform.kind) for host in hosts}
        spec = {
            "folder": str(folder),
            "hosts": [{"name": h.name, "folder": str(h.folder), "env": variables[h.name]} for h in hosts],
            "argv": container.command(job),
            "image": platform.container_image,
            "relays": str(platform.root),
            "ports": platform.ports,
            "hide": [*platform.hide, str(platform.root)],
            "late_names": late.seconds if late else 0,
        }
        sandbox = Sandbox(spec, platform.kind)
        sandbox.start()
        return sandbox

    def _mirror(self, host: container.Host, s3) -> None:
        below = checkpoint_folder(self._job.request)
        if below is not None:
            uri, interval = self._job.request["CheckpointConfig"]["S3Uri"], self._platform.checkpoint_interval
            self._mirrors.append(CheckpointMirror(s3, uri, host.ml / below, interval))

    def _stop_mirrors(self) -> None:
        while self._mirrors:
            self._mirrors.pop().stop()

    def _watch(self, sandbox: Sandbox, hosts: list[container.Host]) -> Ending:
        """Wait for the containers, and signal them when the job has to end before them."""
        ending, since, kill_at = None, time.monotonic(), 0.0
        unnoticed: set[str] = set()
        while not sandbox.wait(_TICK):
            if ending is None:
                self._strike_hosts(sandbox, since, hosts, unnoticed)
                ending = self._reason_to_end(sandbox, since, hosts, unnoticed)
                if ending is not None:
                    kill_at = time.monotonic() + ending.grace
                    self._stop_mirrors()
                    if ending.grace:
                        sandbox.terminate()
            elif time.monotonic() > kill_at:
                sandbox.kill()
        if ending is not None:
            return ending
        if self._job.stop_requested.is_set():
            return Ending("stopped")
        if len(sandbox.exits) < len(hosts):
            raise RuntimeError(f"the sandbox ended before its hosts: {sandbox.messages()}")
        # a host whose death goes unnoticed gives the reason only when no other host gives one
        failure = self._first_failure(sandbox, unnoticed) or self._first_failure(sandbox, set())
        return failure or Ending("completed")

    def _strike_hosts(self, sandbox: Sandbox, since: float, hosts: list[container.Host], unnoticed: set[str]) -> None:
        death = self._take(faults.HostDeath, lambda fault: fault.due(since, [host.ml for host in hosts]))
        if death is not None:
            if death.host not in {host.name for host in hosts}:
                raise ValueError(f"a fault was planned for {death.host}, which {self._job.name} does not have")
            if not death.noticed:
                unnoticed.add(death.host)
            if death.silent:
                sandbox.cut_cable(death.host)
            sandbox.kill(death.host)

    def _reason_to_end(
        self, sandbox: Sandbox, since: float, hosts: list[container.Host], unnoticed: set[str]
    ) -> Ending | None:
        grace, job = self._platform.grace, self._job
        trees = [host.ml for host in hosts]

        def due(fault) -> bool:
            return fault.due(since, trees)

        if job.stop_requested.is_set():
            return Ending("stopped", grace)
        if job.spot and (fault := self._take(faults.SpotInterruption, due)) is not None:
            return Ending("interrupted", fault.grace, pause=fault.capacity_back_after)
        if self._take(faults.PlatformError, due) is not None:
            return Ending("platform")
        running = time.monotonic() - since
        longest = self._limits.get("MaxRuntimeInSeconds", float("inf"))
        if self._take(faults.MaxRuntimeExceeded, due) is not None or job.trained_seconds + running > longest:
            return Ending("max_runtime", grace)
        if self._waited_too_long():
            return Ending("max_wait", grace)
        return self._first_failure(sandbox, unnoticed)

    def _first_failure(self, sandbox: Sandbox, unnoticed: set[str]) -> Ending | None:
        for host, code in list(sandbox.exits.items()):
            if code and host not in unnoticed:
                return Ending("failed", self._platform.grace, host, code)
        return None

    def _words(self, host: container.Host) -> str:
        """What the host that failed first left in /opt/ml/output/failure."""
        path = host.ml / "output/failure"
        return path.read_text(errors="replace") if path.is_file() else ""

    def _upload(self, hosts: list[container.Host]) -> None:
        job = self._job
        job.enter(job.status, "Uploading", "Uploading generated training model")
        output = job.request["OutputDataConfig"]
        uri = f"{output['S3OutputPath'].rstrip('/')}/{job.name}/output"
        for host in hosts:
            for part, name in (("model", "model"), ("output/data", "output")):
                if any(path.is_file() for path in (host.ml / part).rglob("*")):
                    s3, compression = self._platform.s3(job.role), output.get("CompressionType", "GZIP")
                    upload_result(s3, host.ml / part, uri, name, compression)

    def _finish(self, ending: Ending) -> None:
        job = self._job
        if ending.kind == "completed":
            job.finish("Completed", "Completed", "Training job completed")
        elif ending.kind == "failed":
            job.finish("Failed", "Failed", reason=f"AlgorithmError: {self._failure[:900]}, exit code: {ending.code}")
        elif ending.kind == "platform":
            job.finish("Failed", "Failed", reason=_INTERNAL)
        else:
            secondary = {"max_runtime": "MaxRuntimeExceeded", "max_wait": "MaxWaitTimeExceeded"}
            job.finish("Stopped", secondary.get(ending.kind, "Stopped"), "Training job stopped")
