"""What a job asks of SageMaker: its Snakemake resources over the defaults of the executor's settings.

| resource | default | meaning |
|---|---|---|
| instance_type, instance_count, volume_size | settings | hardware; volume_size in GB for each host |
| instance_ranks | – | of several instance types, comma-separated: how many ranks a job has on each |
| image | settings | container image |
| max_runtime | settings | seconds that the job may run (all attempts of maximum_retry_attempts together) |
| max_pending | settings | seconds that it may wait for accelerated machines |
| maximum_retry_attempts | settings, 0 | how often SageMaker starts it again after an error of its own |
| infra_check, training_plan_arn | settings | health check before the start; reserved machines |
| spot, max_wait | 0, twice max_runtime | spot capacity; seconds for waiting and running together |
| checkpoints | spot | keep /opt/ml/checkpoints on S3, for the next start of a job with the same key |
| keep_alive | 0 | seconds that the hosts wait for a next job (warm pool) |
| efa | 0 | variables for NCCL over the Elastic Fabric Adapter |
| subnets, security_group_ids, kms_key, volume_kms_key | settings | comma-separated lists, ARNs |
| traffic_encryption | settings | encrypt what the hosts of a job send each other (slower for large models) |
| tags | – | KEY=VALUE, comma-separated, beside those of the settings |
| job_key | digest of all the job is made of | identity: what is adopted, what checkpoints belong to |
| record, worker_command, return_files | settings | see there; return_files is comma-separated |
"""

import re
from dataclasses import dataclass, field, fields

from snakemake_interface_common.exceptions import WorkflowError

from . import model
from .settings import ExecutorSettings

LONGEST_RUN = 28 * 86400  # SageMaker's limit of MaxRuntimeInSeconds
_PENDING = (1800, 28 * 86400)  # its limits of MaxPendingTimeInSeconds
_MOST_RETRIES = 30  # of MaximumRetryAttempts
ACCELERATED = ("ml.p", "ml.g", "ml.trn")  # the only machines for which MaxPendingTimeInSeconds has an effect
# Families with the Elastic Fabric Adapter among those that SageMaker trains on.
_EFA_FAMILIES = {"c5n", "p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300", "p6e-gb200"}
_EFA_FAMILIES |= {"trn1", "trn1n", "trn2", "g6e"}


# Families with disks of their own, which hardware encrypts: SageMaker accepts no key for them, nor heeds a size.
_LOCAL_DISKS = re.compile(r"ml\.(p3dn|p4d|p5|p6|g4dn|g5|g6|trn|[cmr]\d[a-z]*d[a-z]*)[a-z0-9-]*\.")


def has_local_disks(instance_type: str) -> bool:
    """Say whether machines of a type have NVMe disks in place of volumes (botocore's model, ResourceConfig)."""
    return bool(_LOCAL_DISKS.match(instance_type)) and not instance_type.startswith("ml.g5g.")


class ResourcesError(WorkflowError):
    """Resources of a job that SageMaker would refuse; the message holds one line a mistake."""


@dataclass(frozen=True)
class JobResources:
    """The hardware and limits of one job, checked."""

    instance_type: str  # several, comma-separated, are tried in turn
    instance_count: int
    volume_size: int
    image: str
    max_runtime: int
    instance_ranks: tuple[int, ...] = ()
    max_pending: int | None = None
    maximum_retry_attempts: int = 0
    infra_check: bool = False
    training_plan_arn: str | None = None
    spot: bool = False
    max_wait: int | None = None
    checkpoints: bool = False
    keep_alive: int = 0
    efa: bool = False
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    traffic_encryption: bool = False
    kms_key: str | None = None
    volume_kms_key: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    job_key: str | None = None
    record: str | None = None
    worker_command: str | None = None
    return_files: tuple[str, ...] = ()

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The instance types, the preferred first."""
        return tuple(name.strip() for name in self.instance_type.split(",") if name.strip())

    def same_ranks(self, one: int, other: int) -> bool:
        """Say whether a job has as many ranks on one of its instance types as on another; unknown numbers differ."""
        ranks = self.instance_ranks
        return one == other or (len(ranks) > max(one, other) and ranks[one] == ranks[other] > 0)


RESOURCE_NAMES = frozenset(each.name for each in fields(JobResources))


def read_resources(job, settings: ExecutorSettings) -> JobResources:
    """Return what JOB asks for. Raises ResourcesError with everything that is wrong."""
    wrong: list[str] = []
    given = {name: value for name, value in job.resources.items() if value not in (None, "")}

    def text(name: str) -> str | None:
        value = given.get(name, getattr(settings, name, None))
        return None if value in (None, "") else str(value)

    def number(name: str, default: int, lowest: int) -> int:
        value = given.get(name, getattr(settings, name, default))
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or value < lowest:
            wrong.append(f"{name} is {value!r}; expected a whole number of at least {lowest}")
            return default
        return int(value)

    def flag(name: str, default: bool = False) -> bool:
        value = given.get(name, default)
        if str(value).lower() not in ("0", "1", "true", "false"):
            wrong.append(f"{name} is {value!r}; expected 1 or 0")
        return str(value).lower() in ("1", "true")

    def items(name: str) -> tuple[str, ...]:
        value = given.get(name)
        return tuple(getattr(settings, name, None) or ()) if value is None else tuple(str(value).split(","))

    spot = flag("spot")
    pending = given.get("max_pending", settings.max_pending)
    max_runtime = number("max_runtime", 86400, 1)
    resources = JobResources(
        instance_type=text("instance_type") or "",
        instance_count=number("instance_count", 1, 1),
        volume_size=number("volume_size", 30, 1),
        image=text("image") or "",
        max_runtime=max_runtime,
        instance_ranks=_numbers(str(given.get("instance_ranks", "")), wrong),
        max_pending=None if pending is None else number("max_pending", _PENDING[0], 1),
        maximum_retry_attempts=number("maximum_retry_attempts", 0, 0),
        infra_check=flag("infra_check", settings.infra_check),
        training_plan_arn=text("training_plan_arn"),
        spot=spot,
        max_wait=number("max_wait", min(2 * max_runtime, LONGEST_RUN), 1) if spot else None,
        checkpoints=flag("checkpoints", spot),
        keep_alive=number("keep_alive", 0, 0),
        efa=flag("efa"),
        subnets=items("subnets"),
        security_group_ids=items("security_group_ids"),
        traffic_encryption=flag("traffic_encryption", settings.traffic_encryption),
        kms_key=text("kms_key"),
        volume_kms_key=text("volume_kms_key"),
        tags=_tags([*(settings.tags or ()), *filter(None, str(given.get("tags", "")).split(","))], wrong),
        job_key=str(given["job_key"]) if "job_key" in given else None,
        record=text("record"),
        worker_command=text("worker_command"),
        return_files=items("return_files"),
    )
    wrong += _contradictions(resources, given)
    if wrong:
        raise ResourcesError("\n".join(f"rule {job.name}: {problem}" for problem in wrong))
    return resources


def _numbers(text: str, wrong: list[str]) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(map(str.isdecimal, words)):
        wrong.append(f"instance_ranks is {text!r}; expected whole numbers, one an instance type, 0 for unknown")
        return ()
    return tuple(map(int, words))


def _tags(pairs: list[str], wrong: list[str]) -> dict[str, str]:
    tags = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            wrong.append(f"tag {pair!r}; expected KEY=VALUE")
        tags[key] = value
    return tags


def _contradictions(resources: JobResources, given: dict):
    if not resources.instance_types:
        yield "no instance_type; set the resource, or sagemaker-instance-type in the profile"
    for name in resources.instance_types:
        if name not in model.instance_types():
            yield (
                f"instance_type is {name!r}, which is no instance type for training jobs that this version of boto3 "
                "knows; correct it, or upgrade boto3 when the type is new"
            )
    if len(set(resources.instance_types)) < len(resources.instance_types):
        yield f"instance_type names one type twice: {resources.instance_type}; each is tried in turn again and again"
    if resources.instance_ranks and len(resources.instance_ranks) != len(resources.instance_types):
        yield "instance_ranks needs one number for each of the instance types"
    if not resources.image:
        yield "no image; set the resource, or sagemaker-image in the profile"
    if resources.max_runtime > LONGEST_RUN:
        yield f"max_runtime is {resources.max_runtime} s; a training job runs {LONGEST_RUN} s (28 days) at most"
    if resources.spot and (resources.max_wait or 0) < resources.max_runtime:
        yield f"max_wait is {resources.max_wait} s, less than max_runtime ({resources.max_runtime} s); raise it"
    if "max_wait" in given and not resources.spot:
        yield "max_wait without spot=1 means nothing; remove it or set spot"
    if resources.max_pending is not None:
        if not _PENDING[0] <= resources.max_pending <= _PENDING[1]:
            yield f"max_pending is {resources.max_pending} s; SageMaker takes {_PENDING[0]} to {_PENDING[1]}"
        if "max_pending" in given and not all(name.startswith(ACCELERATED) for name in resources.instance_types):
            yield (
                f"max_pending with {resources.instance_type}: SageMaker heeds it for machines with accelerators alone "
                "(ml.p, ml.g, ml.trn); remove it"
            )
    if resources.maximum_retry_attempts > _MOST_RETRIES:
        yield f"maximum_retry_attempts is {resources.maximum_retry_attempts}; SageMaker takes {_MOST_RETRIES} at most"
    if resources.training_plan_arn and resources.spot:
        yield "training_plan_arn and spot exclude each other: a plan's machines are reserved; remove one"
    if resources.training_plan_arn and len(resources.instance_types) > 1:
        yield "training_plan_arn with several instance types: a plan's machines are of one type; name that one"
    if resources.spot and resources.keep_alive:
        yield "keep_alive and spot exclude each other; remove one"
    if "volume_kms_key" in given and any(map(has_local_disks, resources.instance_types)):
        yield (
            f"volume_kms_key with {resources.instance_type}, whose disks are its own, encrypted by hardware: SageMaker "
            "accepts no key for them; remove it"
        )
    if bool(resources.subnets) != bool(resources.security_group_ids):
        yield "subnets and security_group_ids come together; set both or none"
    for name in resources.instance_types:
        if resources.efa and name.removeprefix("ml.").partition(".")[0] not in _EFA_FAMILIES:
            yield f"efa=1 with {name}, which has no Elastic Fabric Adapter; remove it"
