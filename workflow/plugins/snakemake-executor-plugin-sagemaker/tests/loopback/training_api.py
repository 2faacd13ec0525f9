"""SageMaker's operations on training jobs."""

import base64
import threading
from collections.abc import Callable

from .errors import AwsError, validation_error
from .faults import FaultPlan
from .job import ENDED, TrainingJob
from .quotas import ServiceQuotas
from .storage import checkpoint_folder

LOCAL_DISKS = ("ml.p3dn.", "ml.p4d", "ml.p5", "ml.g4dn.", "ml.g5.", "ml.g6", "ml.trn")
"""The beginnings of some instance types with NVMe disks, whose size and encryption are fixed."""


class TrainingApi:
    """The training jobs of a server. `start` runs a new job."""

    def __init__(self, faults: FaultPlan, quotas: ServiceQuotas, start: Callable):
        self.jobs: dict[str, TrainingJob] = {}
        self._faults, self._quotas, self._start = faults, quotas, start
        self._lock = threading.Lock()

    def operations(self) -> dict:
        return {
            "CreateTrainingJob": self.create_training_job,
            "DescribeTrainingJob": self.describe_training_job,
            "ListTrainingJobs": self.list_training_jobs,
            "StopTrainingJob": self.stop_training_job,
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
            "DeleteTags": self.delete_tags,
            "Search": self.search,
        }

    def create_training_job(self, request: dict) -> dict:
        _check_meaning(request)
        name, resources = request["TrainingJobName"], request["ResourceConfig"]
        spot = request.get("EnableManagedSpotTraining", False)
        with self._lock:
            if name in self.jobs:
                raise AwsError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({name})",
                )
            in_use = sum(
                job.instance_count
                for job in self.jobs.values()
                if job.status not in ENDED and (job.instance_type, job.spot) == (resources["InstanceType"], spot)
            )
            seconds = request["StoppingCondition"].get("MaxRuntimeInSeconds", 86400)
            self._quotas.check(resources["InstanceType"], spot, resources["InstanceCount"], in_use, seconds)
            job = self.jobs[name] = TrainingJob(request, self._faults.for_job(name, resources["InstanceType"]))
        self._start(job)
        return {"TrainingJobArn": job.arn}

    def describe_training_job(self, request: dict) -> dict:
        return self._job(request["TrainingJobName"]).describe()

    def stop_training_job(self, request: dict) -> None:
        job = self._job(request["TrainingJobName"])
        if job.status in ENDED:
            raise validation_error(f"The request was rejected because the training job is in status {job.status}.")
        job.request_stop()

    def list_training_jobs(self, request: dict) -> dict:
        _refuse_unserved(request, "TrainingPlanArnEquals", "WarmPoolStatusEquals")
        found = [job for job in self._all() if _is_listed(job.summary(), request)]
        keys = {
            "Name": lambda job: job.name,
            "CreationTime": lambda job: job.created,
            "Status": lambda job: job.status,
        }
        descending = request.get("SortOrder", "Ascending") == "Descending"
        found.sort(key=keys[request.get("SortBy", "CreationTime")], reverse=descending)
        jobs, token = _page(found, request)
        return {"TrainingJobSummaries": [job.summary() for job in jobs], **token}

    def search(self, request: dict) -> dict:
        """Search with filters on text members and `Tags.KEY`, joined by And or Or."""
        _refuse_unserved(request, "CrossAccountFilterOption", "VisibilityConditions")
        if request["Resource"] != "TrainingJob":
            raise validation_error("The loopback searches training jobs only.")
        expression = request.get("SearchExpression", {})
        _refuse_unserved(expression, "NestedFilters", "SubExpressions")
        filters, join = expression.get("Filters", []), any if expression.get("Operator") == "Or" else all
        found = [job for job in self._all() if not filters or join(_passes(job, each) for each in filters)]
        newest_first = request.get("SortOrder", "Descending") == "Descending"
        sort_by = request.get("SortBy", "CreationTime")
        found.sort(key=lambda job: job.describe().get(sort_by, ""), reverse=newest_first)
        jobs, token = _page(found, request)
        results = [{"TrainingJob": _searchable(job)} for job in jobs]
        return {"Results": results, **token}

    def add_tags(self, request: dict) -> dict:
        job = self._tagged(request)
        job.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        if len(job.tags) > 50:
            raise validation_error("The number of tags is over the limit of 50.")
        return {"Tags": _tag_list(job)}

    def list_tags(self, request: dict) -> dict:
        return {"Tags": _tag_list(self._tagged(request))}

    def delete_tags(self, request: dict) -> dict:
        job = self._tagged(request)
        for key in request["TagKeys"]:
            job.tags.pop(key, None)
        return {}

    def _all(self) -> list[TrainingJob]:
        with self._lock:
            return list(self.jobs.values())

    def _job(self, name: str) -> TrainingJob:
        if name not in self.jobs:
            raise validation_error("Requested resource not found.")
        return self.jobs[name]

    def _tagged(self, request: dict) -> TrainingJob:
        job = next((job for job in self._all() if job.arn == request["ResourceArn"]), None)
        if job is None:
            raise AwsError("ResourceNotFound", f"Resource {request['ResourceArn']} does not exist.")
        return job


def _check_meaning(request: dict) -> None:
    """The rules between members that no shape expresses. Raises AwsError."""
    stopping, resources = request.get("StoppingCondition", {}), request["ResourceConfig"]
    longest, wait = stopping.get("MaxRuntimeInSeconds", 86400), stopping.get("MaxWaitTimeInSeconds")
    algorithm = request["AlgorithmSpecification"]
    if request.get("EnableManagedSpotTraining"):
        if wait is None or wait < longest:
            raise validation_error(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
            )
        if resources.get("KeepAlivePeriodInSeconds"):
            raise validation_error("KeepAlivePeriodInSeconds is not supported with managed spot training.")
        if resources.get("TrainingPlanArn"):
            raise validation_error("TrainingPlanArn is not supported with managed spot training.")
    elif wait is not None:
        raise validation_error("MaxWaitTimeInSeconds is supported with EnableManagedSpotTraining only.")
    if resources.get("VolumeKmsKeyId") and resources.get("InstanceType", "").startswith(LOCAL_DISKS):
        raise validation_error(
            f"VolumeKmsKeyId is not supported for {resources['InstanceType']}, which has local storage."
        )
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise validation_error("Exactly one of TrainingImage and AlgorithmName has to be given.")
    if "InstanceType" not in resources or resources.get("InstanceCount", 0) < 1:
        raise validation_error("The loopback runs homogeneous clusters: give InstanceType, and InstanceCount from 1.")
    if "OutputDataConfig" not in request:
        raise validation_error("OutputDataConfig is missing.")
    keys = [tag["Key"] for tag in request.get("Tags", [])]
    if len(set(keys)) < len(keys):
        raise validation_error("Duplicate tag keys found. Tag keys must be unique.")
    if any(key.lower().startswith("aws:") for key in keys):
        raise validation_error("Tag keys must not begin with aws:, which is reserved.")
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"].get("S3DataSource", {})
        if source.get("S3DataType") != "S3Prefix" or source.get("S3DataDistributionType") == "ShardedByS3Key":
            raise validation_error("The loopback serves channels of S3Prefix, FullyReplicated only.")
    checkpoint_folder(request)


def _is_listed(summary: dict, request: dict) -> bool:
    for member, key in (("CreationTime", "CreationTime"), ("LastModifiedTime", "LastModifiedTime")):
        if summary[key] <= request.get(f"{member}After", float("-inf")):
            return False
        if summary[key] >= request.get(f"{member}Before", float("inf")):
            return False
    if request.get("StatusEquals", summary["TrainingJobStatus"]) != summary["TrainingJobStatus"]:
        return False
    return request.get("NameContains", "").lower() in summary["TrainingJobName"].lower()


def _passes(job: TrainingJob, condition: dict) -> bool:
    name, wanted = condition["Name"], condition.get("Value", "")
    value = job.tags.get(name.removeprefix("Tags.")) if name.startswith("Tags.") else job.describe().get(name)
    operator = condition.get("Operator", "Equals")
    if operator in ("Exists", "NotExists"):
        return (value is not None) == (operator == "Exists")
    if operator == "NotEquals":
        return str(value) != wanted
    if value is None:
        return False
    if operator == "Equals":
        return str(value) == wanted
    if operator == "Contains":
        return wanted.lower() in str(value).lower()
    if operator == "In":
        return str(value) in wanted.split(",")
    raise validation_error(f"The loopback does not serve the operator {operator}.")


def _searchable(job: TrainingJob) -> dict:
    described = job.describe()
    described.pop("WarmPoolStatus", None)  # no member of what Search finds
    for name in ("RemoteDebugConfig", "InfraCheckConfig"):
        described.pop(name, None)
    return {**described, "Tags": _tag_list(job)}


def _tag_list(job: TrainingJob) -> list[dict]:
    return [{"Key": key, "Value": value} for key, value in job.tags.items()]


def _page(items: list, request: dict) -> tuple[list, dict]:
    token, limit = request.get("NextToken"), request.get("MaxResults", 10)
    try:
        first = int(base64.b64decode(token)) if token else 0
    except ValueError:
        raise validation_error("Invalid pagination token.") from None
    more = first + limit < len(items)
    following = {"NextToken": base64.b64encode(str(first + limit).encode()).decode()} if more else {}
    return items[first : first + limit], following


def _refuse_unserved(request: dict, *members: str) -> None:
    """Refuse what would otherwise be ignored."""
    for member in members:
        if member in request:
            raise validation_error(f"The loopback does not serve {member}.")
