"""A SageMaker on 127.0.0.1 that really runs its training jobs: test support.

`LoopbackSageMaker` serves the operations of SageMaker, CloudWatch Logs and Service Quotas that a client of training
jobs uses. It checks every request against botocore's own service model (with maximum lengths, patterns and enums, which
botocore's client does not check), runs `ContainerEntrypoint` + `ContainerArguments` once a host, each host in its own
network, mount and PID namespace where the machine allows it, and fails on request (`loopback.faults`).

    with LoopbackSageMaker(container_env=...) as sagemaker:
        client = boto3.client("sagemaker", endpoint_url=sagemaker.endpoint)
        client.create_training_job(...)
        sagemaker.wait("my-job")

`loopback.plugin` holds the same as pytest fixtures, with moto for S3, SSM, Secrets Manager and the rest of AWS.
The "image" is this machine: `TrainingImage` is checked and recorded, and the programs come from `PATH`. With
`container_image` the hosts are containers of a real image, run by podman.

What it can not show, so that it has to be tried on AWS: permissions of roles and of the network, image pulls, GPUs,
NCCL and EFA, transfer rates, how late logs and tags appear, how often requests are throttled, real capacity and prices
(`BillableTimeInSeconds` of a spot job is a fixed share here), and the exact words of errors that no model records.
Without namespaces, moreover: PID 1 (but in a real image), names of hosts, separate networks; and two jobs of several
hosts run one after the other, since they would share the machine's ports.
"""

from .faults import (
    CapacityError,
    HostDeath,
    LateNames,
    MaxRuntimeExceeded,
    MaxWaitTimeExceeded,
    PlatformError,
    Refusal,
    SlowStart,
    SpotInterruption,
    quota_exceeded,
    server_error,
    throttling,
)
from .server import LoopbackSageMaker

__all__ = [
    "CapacityError",
    "HostDeath",
    "LateNames",
    "LoopbackSageMaker",
    "MaxRuntimeExceeded",
    "MaxWaitTimeExceeded",
    "PlatformError",
    "Refusal",
    "SlowStart",
    "SpotInterruption",
    "quota_exceeded",
    "server_error",
    "throttling",
]
