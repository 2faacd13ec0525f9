"""PID 1 of every host of a training job.

Fetch job file, sources and inputs; resolve secrets; on the head run the Snakemake job and return its results, on the
others run the worker command until the head has ended.
"""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import boto3
from botocore.config import Config

from ..archive import unpack
from ..jobfile import FORMAT
from ..objects import ObjectStore
from ..secrets import LeakGuard, is_reference, resolve
from ..transfer import receive, send
from .channel import Head, Worker
from .checkpoints import Checkpoints
from .child import Child
from .failure import Failure, failure_file, failure_of, write_failure
from .hosts import Hosts, ml_root
from .working_place import working_place

# A file that the job may write: one path a line, returned to the submitting machine beside the rule's outputs.
RETURN_FILES_VARIABLE = "SNAKEMAKE_SAGEMAKER_RETURN_FILES"
# A file with what the hosts of a job know and nobody else does; for programs of the job whose hosts talk to each other.
SECRET_FILE_VARIABLE = "SNAKEMAKE_SAGEMAKER_SECRET_FILE"
_TAIL = 800  # characters of output in a failure's text
_KEEP_SECONDS = 115  # of the 120 from SageMaker's SIGTERM to its SIGKILL: what is not on S3 then is given up
_LONGEST_KEEP = 600  # seconds that an end without SIGTERM waits for checkpoints to be on S3


def log(text: str) -> None:
    """Print a line of the entry point's own."""
    print(f"[sagemaker] {text}", flush=True)


class Stopping:
    """Turns SIGTERM into the end of the child, from the first moment on: PID 1 has no default action for it."""

    def __init__(self):
        self.asked_at: float | None = None
        self._child: Child | None = None
        self._checkpoints: Checkpoints | None = None
        signal.signal(signal.SIGTERM, self._handle)

    @property
    def asked(self) -> bool:
        """Whether SIGTERM has come."""
        return self.asked_at is not None

    def _handle(self, number, frame):
        if self.asked_at is None:
            self.asked_at = time.monotonic()
        log("SIGTERM: passing it on and waiting for the job to end")
        if self._child:
            self._child.terminate()
        if self._checkpoints:
            self._checkpoints.hurry()

    def watch(self, child: Child, checkpoints: Checkpoints | None) -> None:
        """Pass SIGTERM on to CHILD, also one that came before, and have CHECKPOINTS sent from then on."""
        self._child, self._checkpoints = child, checkpoints
        if self.asked:
            child.terminate()
            if checkpoints:
                checkpoints.hurry()

    def seconds_left(self, since: float) -> float:
        """Return how long checkpoints may still be sent at an end that began at SINCE."""
        until = since + _LONGEST_KEEP if self.asked_at is None else self.asked_at + _KEEP_SECONDS
        return until - time.monotonic()


class Job:
    """One host's part of the job."""

    def __init__(self, root: Path, hosts: Hosts, store: ObjectStore, digest: str):
        self.root, self.hosts, self.store, self.digest = root, hosts, store, digest
        place, rooms = working_place(root)
        log(f"working in {place} ({rooms})")
        self.directory = place / "workflow"
        self.return_list = place / "return-files"
        self.secret_file = place / "hosts-secret"
        self.content = json.loads(store.get_bytes(digest))
        if self.content["format"] != FORMAT:
            raise RuntimeError(
                f"the image's plugin reads job files of format {FORMAT}, this one has {self.content['format']}; "
                "install the same version of the plugin in the image as on the submitting machine"
            )
        self.secret = self.content.get("secret") or ""
        if len(hosts.names) > 1 and len(self.secret) < 32:
            raise RuntimeError("the job file holds no secret by which the job's hosts could know each other")
        self.guard = LeakGuard(self.own_secrets())

    def checkpoints(self) -> Checkpoints | None:
        """Return the job's /opt/ml/checkpoints, None where SageMaker keeps none of this job."""
        key = self.content.get("checkpoints")
        if not key:
            return None
        bucket, prefix = self.store.location("checkpoints", key)
        return Checkpoints(self.root / "checkpoints", bucket, prefix, self.store.encryption)

    def own_secrets(self) -> dict[str, str]:
        """Return the secret of the job's hosts, which must not get into logs and results either."""
        return {SECRET_FILE_VARIABLE: self.secret} if self.secret else {}

    def prepare(self) -> dict[str, str]:
        """Fill the working directory, resolve secrets and return the environment of the job."""
        secrets = {}
        for name, value in os.environ.items():
            if is_reference(value):
                secrets[name] = resolve(value, boto3.client)
        self.guard = LeakGuard(secrets | self.own_secrets(), formats=False)
        shutil.rmtree(self.directory, ignore_errors=True)  # a warm host keeps what the job before has left
        self.directory.mkdir(parents=True)
        self.return_list.unlink(missing_ok=True)
        unpack(self.store.get_bytes(self.content["sources"]), self.directory)
        receive(self.content["inputs"], self.directory, self.store)
        # Snakemake makes them for a job that it starts itself, on the submitting machine.
        for path in self.content["results"] + self.content["logs"]:
            (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
        variables = self.hosts.variables() | {RETURN_FILES_VARIABLE: str(self.return_list)}
        self.secret_file.unlink(missing_ok=True)
        if self.secret:
            descriptor = os.open(self.secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(self.secret)
            variables[SECRET_FILE_VARIABLE] = str(self.secret_file)
        return os.environ | variables | secrets

    def own_failure(self, code: int, child: Child) -> Failure | None:
        """Return why this host's command has failed, without secrets; None when it has not."""
        if not code:
            return None
        failure = failure_of(self.hosts.current, code, child.tail(_TAIL), self.root)
        return replace(failure, text=self.guard.redact(failure.text.encode()).decode())

    def return_results(self, failure: Failure | None) -> None:
        """Store results and logs; of a failed job the logs and what it listed itself.

        Raises PlainTextSecretError when a result holds a secret; in logs secrets are replaced.
        """
        listed = self.return_list.read_text(encoding="utf-8").splitlines() if self.return_list.is_file() else []
        paths = listed if failure else [*self.content["results"], *listed]
        for name in self.content["logs"]:
            self._redact(self.directory / name)
        result = {
            "status": "failed" if failure else "succeeded",
            "error": failure.sentence() if failure else None,
            "files": send(filter(None, paths), self.directory, self.store, self.guard, "the result"),
            "logs": send(self.content["logs"], self.directory, self.store, self.guard, "the log"),
        }
        self.store.put_result(os.environ["TRAINING_JOB_NAME"], json.dumps(result).encode())

    def _redact(self, path: Path) -> None:
        if path.is_file():
            data = path.read_bytes()
            clean = self.guard.redact(data)
            if clean != data:
                path.write_bytes(clean)


def run_head(job: Job, child: Child, stopping: Stopping, environment_of) -> Failure | None:
    """Run the Snakemake job and return the first failure of all hosts, None when there is none."""
    others = None
    if len(job.hosts.names) > 1:
        others = Head(job.hosts, job.secret.encode(), job.content["host_timeout"], child.terminate)
    failure = None
    try:
        child.start(job.content["command"], environment_of(), job.directory)
        failure = job.own_failure(child.wait(), child)
    except Exception as error:  # noqa: BLE001 - the other hosts have to be told
        failure = Failure.now(job.hosts.current, f"{type(error).__name__}: {error}")
    if others and stopping.asked:
        others.settle = 0.0
    if others and not (stopping.asked and failure is None):
        failure = others.first_failure(failure)
    try:
        job.return_results(failure)
    except Exception as error:  # noqa: BLE001 - as above
        failure = failure or Failure.now(job.hosts.current, f"{type(error).__name__}: {error}")
    if others:
        others.finish(failure)
    return failure


def run_worker(job: Job, child: Child, stopping: Stopping, environment_of) -> Failure | None:
    """Run the worker command, or wait, until the head has ended; return the job's first failure as the head says it."""
    head = Worker(job.hosts, job.secret.encode(), job.content["host_timeout"], child.terminate)
    failure = None
    try:
        environment = environment_of()
        # Not before the head knows this host: it would wait long for one that dies unknown.
        while not head.wait_joined(0.2) and not stopping.asked:
            pass
        if job.content["worker_command"] and not head.over:
            child.start(job.content["worker_command"], environment, job.directory)
            code = child.wait()
            if code and not head.over:  # one that the end of the job has ended has not failed
                failure = job.own_failure(code, child)
    except Exception as error:  # noqa: BLE001 - the head has to be told
        failure = Failure.now(job.hosts.current, f"{type(error).__name__}: {error}")
    if failure and not stopping.asked:
        head.report(failure)
    elif not failure:
        while not head.wait(0.2) and not stopping.asked:
            pass
    head.close()
    return head.failure or failure


def main(arguments: list[str]) -> int:
    """Run this host's part and return the exit status of the container."""
    stopping = Stopping()
    root = ml_root()
    host = "this host"
    checkpoints = None
    try:
        failure_file(root).parent.mkdir(parents=True, exist_ok=True)
        failure_file(root).unlink(missing_ok=True)
        hosts = Hosts.read(root)
        host = hosts.current
        client = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 10}))
        store = ObjectStore(client, arguments[0], arguments[2] if len(arguments) > 2 else None)
        job = Job(root, hosts, store, arguments[1])
        log(f"{host}, {hosts.rank + 1} of {len(hosts.names)}: job file {job.digest}")
        child = Child(job.guard)
        checkpoints = job.checkpoints()
        stopping.watch(child, checkpoints)

        def environment_of() -> dict[str, str]:
            environment = job.prepare()
            child.guard = job.guard
            return environment

        failure = (run_head if hosts.is_head else run_worker)(job, child, stopping, environment_of)
    except Exception as error:  # noqa: BLE001 - whatever it is, a person must be able to read it in FailureReason
        failure = Failure.now(host, f"{type(error).__name__}: {error}")
    if failure:
        write_failure(failure, root)
        log(f"failed: {failure.sentence()}")
    if checkpoints:
        ended_at = time.monotonic()
        log(checkpoints.finish(lambda: stopping.seconds_left(ended_at)))
        checkpoints.close()
    return 1 if failure else 0
