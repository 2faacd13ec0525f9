"""The loopback SageMaker: one object that owns the HTTP server, the jobs and all that they leave behind."""

import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING

import boto3

from .faults import Fault, FaultPlan, HostDeath, LateNames
from .job import REGION, TrainingJob
from .kinds import HostKind
from .lifecycle import Lifecycle, Platform
from .logs import CloudWatchLogs
from .protocol import JsonServer, service_model
from .quotas import ServiceQuotas
from .recording import Recorder
from .relay import PortRelay
from .sandbox import namespaces, short_folder, start_janitor
from .training_api import TrainingApi

if TYPE_CHECKING:
    from .permissions import Permissions  # which imports moto


class LoopbackSageMaker:
    """SageMaker's training jobs on 127.0.0.1; use it as a context manager.

    container_env: variables that the "image" and the platform give each container, endpoint URLs of other services
        among them: each port of 127.0.0.1 that they name is reachable from inside, and so is this server.
    s3_endpoint: where channels, checkpoints and results are; by default AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL of
        `container_env`.
    grace: seconds between SIGTERM and SIGKILL (120 on AWS) for everything but a spot interruption.
    checkpoint_interval: seconds between two copies of /opt/ml/checkpoints to S3.
    use_namespaces: None chooses by what the machine allows. Without, a container finds its tree by `SM_ML_ROOT`.
    hide: folders that the containers see empty, such as the submitting machine's clone; only in namespaces.
    container_image: the name of an image that podman has: each host is a container of it, on the machine's network.
    permissions: policies that requests, and the roles of jobs, have to have; without, everybody may do everything.
    """

    def __init__(
        self,
        *,
        container_env: dict[str, str] | None = None,
        s3_endpoint: str | None = None,
        grace: float = 5.0,
        checkpoint_interval: float = 0.3,
        use_namespaces: bool | None = None,
        hide: tuple[str, ...] = (),
        container_image: str | None = None,
        permissions: "Permissions | None" = None,
    ):
        self.faults, self.requests, self.logs = FaultPlan(), Recorder(), CloudWatchLogs()
        self.quotas = ServiceQuotas(service_model("sagemaker").shape_for("TrainingInstanceType").enum)
        self._container_env, self._s3_endpoint = dict(container_env or {}), s3_endpoint
        self._grace, self._checkpoint_interval, self._hide = grace, checkpoint_interval, list(hide)
        use_namespaces = namespaces() is not None if use_namespaces is None else use_namespaces
        self.kind = HostKind.NAMESPACES if use_namespaces else HostKind.PLAIN
        if container_image:
            self.kind = HostKind.IMAGE
        self._container_image, self._permissions = container_image, permissions
        self._api = TrainingApi(self.faults, self.quotas, self._start_job)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "LoopbackSageMaker":
        self.root = short_folder()
        self._janitor = start_janitor(self.root, self.kind)
        self._server = JsonServer(self.operations(), self.faults, self.requests, self._permissions)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        image = self._image()
        ports = sorted({int(port) for value in image.values() for port in re.findall(r"//127\.0\.0\.1:(\d+)", value)})
        self._relays = [PortRelay(str(self.root), port) for port in ports] if self.use_namespaces else []
        self.platform = Platform(
            root=self.root,
            s3=self._s3,
            logs=self.logs,
            image=image,
            ports=ports,
            hide=self._hide,
            grace=self._grace,
            checkpoint_interval=self._checkpoint_interval,
            kind=self.kind,
            container_image=self._container_image,
            permissions=self._permissions,
        )
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def operations(self) -> dict[str, dict]:
        """What is served: service → operation → function of the checked request."""
        return {
            "sagemaker": self._api.operations(),
            "logs": self.logs.operations(),
            "service-quotas": self.quotas.operations(),
        }

    @property
    def use_namespaces(self) -> bool:
        """Whether each host is in namespaces of its own."""
        return self.kind is HostKind.NAMESPACES

    @property
    def endpoint(self) -> str:
        """The URL of all three services."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint_variables(self) -> dict[str, str]:
        """The environment that points botocore at this server."""
        services = ("SAGEMAKER", "CLOUDWATCH_LOGS", "SERVICE_QUOTAS")
        return {f"AWS_ENDPOINT_URL_{service}": self.endpoint for service in services}

    @property
    def jobs(self) -> dict[str, TrainingJob]:
        """Every job of this server by its name."""
        return self._api.jobs

    @property
    def problems(self) -> list[str]:
        """Failures of the loopback itself, as tracebacks."""
        return self.platform.problems

    def plan(self, *faults: Fault) -> None:
        """Plan faults, see `loopback.faults`. Raises ValueError for one that needs namespaces where there are none."""
        for fault in faults:
            of_the_network = isinstance(fault, LateNames) or (isinstance(fault, HostDeath) and fault.silent)
            if of_the_network and not self.use_namespaces:
                raise ValueError(f"{fault} needs namespaces, which this machine or this test does not allow")
        self.faults.add(*faults)

    def wait(self, name: str, seconds: float = 60) -> dict:
        """The description of a job once it is over. Raises TimeoutError."""
        if not self.jobs[name].over.wait(seconds):
            log = self.logs.text(name)[-2000:]
            raise TimeoutError(f"job {name} is {self.jobs[name].secondary_status} after {seconds} s. Its log: {log}")
        return self.jobs[name].describe()

    def wait_for(self, name: str, secondary_status: str, seconds: float = 60) -> None:
        """Wait until a job was in a secondary status. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while all(step["Status"] != secondary_status for step in self.jobs[name].transitions):
            if time.monotonic() > until:
                raise TimeoutError(f"job {name} is {self.jobs[name].secondary_status} after {seconds} s")
            time.sleep(0.02)

    def wait_for_line(self, name: str, text: str, seconds: float = 60) -> None:
        """Wait until a job printed `text`. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while text not in self.logs.text(name):
            if time.monotonic() > until:
                raise TimeoutError(f"job {name} did not print {text!r} but: {self.logs.text(name)[-2000:]}")
            time.sleep(0.02)

    def close(self) -> None:
        """Stop serving, end every process of every job, remove the folder."""
        self._server.shutdown()
        self._server.server_close()
        self.platform.grace = 0.0  # a job that handles SIGTERM at length would delay the end of the test
        for job in list(self.jobs.values()):
            job.request_stop()
        for thread in self._threads:
            thread.join()
        for relay in self._relays:
            relay.close()
        self._janitor.stdin.close()
        self._janitor.wait()

    def _start_job(self, job: TrainingJob) -> None:
        thread = threading.Thread(target=Lifecycle(job, self.platform).run, name=f"job {job.name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _image(self) -> dict[str, str]:
        role = {"AWS_ACCESS_KEY_ID": "execution-role", "AWS_SECRET_ACCESS_KEY": "execution-role"}
        defaults = {"AWS_EC2_METADATA_DISABLED": "true", **role}
        if self.kind is not HostKind.IMAGE:  # an image has its own
            path = [os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
            defaults["PATH"] = os.pathsep.join(path)
        return defaults | self._container_env | self.endpoint_variables

    def _s3(self, role: str):
        variables = self._container_env
        endpoint = self._s3_endpoint or variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
        if endpoint is None:
            raise ValueError("this job needs S3: give s3_endpoint or AWS_ENDPOINT_URL_S3 in container_env")
        key = {"AWS_ACCESS_KEY_ID": "platform", "AWS_SECRET_ACCESS_KEY": "platform"}
        if self._permissions:  # the platform moves a job's files with the job's role
            key = self._permissions.variables[role]
        credentials = {name.lower(): value for name, value in key.items()}
        return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=REGION, **credentials)
