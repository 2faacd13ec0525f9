"""CreateTrainingJob's request for one job, valid against botocore's model of the API."""

import os
from collections.abc import Mapping

from snakemake_interface_common.exceptions import WorkflowError

from . import model
from .objects import ObjectStore
from .resources import ACCELERATED, JobResources, has_local_disks
from .secrets import LeakGuard, is_reference, looks_secret, password_in_url
from .settings import ExecutorSettings

CONTAINER_MODULE = "snakemake_executor_plugin_sagemaker.container"
_EFA_VARIABLES = {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "FI_EFA_FORK_SAFE": "1", "RDMAV_FORK_SAFE": "1"}
_PENDING = "MaxPendingTimeInSeconds"
_CREDENTIALS_OF_STORAGE = "SNAKEMAKE_STORAGE_"


def job_environment(
    settings: ExecutorSettings, declared: Mapping[str, str], guard: LeakGuard, own: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables of all jobs: those that Snakemake DECLARED (`envvars:`, storage) and the settings' own.

    Credentials of storage plugins stay here: a job has those of its execution role. Raises WorkflowError with every
    variable that would carry a secret in plain text, or has no value.
    """
    result, wrong = {}, []
    for item in settings.environment or ():
        name, equals, value = item.partition("=")
        if not equals and name not in own:
            wrong.append(f"sagemaker-environment: {name} is not set here; set it, or write {name}=VALUE")
        result[name] = value if equals else own.get(name, "")
    for name, value in declared.items():
        if not (looks_secret(name) and name.startswith(_CREDENTIALS_OF_STORAGE)):
            result.setdefault(name, value)
    for name, value in result.items():
        if is_reference(value):
            continue
        if looks_secret(name):
            wrong.append(
                f"{name} looks like a secret and would be readable in the training job's description; "
                f"give it by reference in sagemaker-environment: {name}=ssm:/… or {name}=secretsmanager:…"
            )
            continue
        if password_in_url(value) is not None:
            wrong.append(
                f"{name} is a URL with a password, which would be readable in the training job's description; give it "
                f"by reference in sagemaker-environment: {name}=ssm:/… or {name}=secretsmanager:…"
            )
            continue
        guard.check(value, f"the variable {name}")
    if wrong:
        raise WorkflowError("\n".join(wrong))
    return result


def training_job_request(
    resources: JobResources,
    settings: ExecutorSettings,
    environment: Mapping[str, str],
    store: ObjectStore,
    job_file: str,
    rule: str,
    checkpoint_key: str,
    region: str,
) -> dict:
    """Return the request without its TrainingJobName; JOB_FILE is the digest of the job file.

    REGION is told to the job by the name that boto3 reads: SageMaker sets AWS_REGION alone, with which boto3 finds no
    Secrets Manager, and an S3 in another region.
    """
    limits = {"MaxRuntimeInSeconds": resources.max_runtime}
    hardware = {
        "InstanceCount": resources.instance_count,
        "VolumeSizeInGB": resources.volume_size,
    }
    output = {"S3OutputPath": store.uri("output"), "CompressionType": "NONE"}
    if resources.keep_alive:
        hardware["KeepAlivePeriodInSeconds"] = resources.keep_alive
    if resources.training_plan_arn:
        hardware["TrainingPlanArn"] = resources.training_plan_arn
    if resources.kms_key:
        output["KmsKeyId"] = resources.kms_key
    arguments = [settings.s3_prefix.rstrip("/"), job_file]
    request = {
        "RoleArn": settings.role,
        "AlgorithmSpecification": {
            "TrainingImage": resources.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [settings.python, "-m", CONTAINER_MODULE],
            "ContainerArguments": arguments + ([resources.kms_key] if resources.kms_key else []),
        },
        "OutputDataConfig": output,
        "ResourceConfig": hardware,
        "StoppingCondition": limits,
        "Environment": {"AWS_DEFAULT_REGION": region, **(_EFA_VARIABLES if resources.efa else {}), **environment},
        "Tags": [{"Key": key, "Value": value} for key, value in ({"snakemake:rule": rule} | resources.tags).items()],
    }
    if resources.subnets:
        request["VpcConfig"] = {
            "Subnets": list(resources.subnets),
            "SecurityGroupIds": list(resources.security_group_ids),
        }
    if resources.traffic_encryption:
        request["EnableInterContainerTrafficEncryption"] = True
    if resources.maximum_retry_attempts:
        request["RetryStrategy"] = {"MaximumRetryAttempts": resources.maximum_retry_attempts}
    if resources.infra_check:
        request["InfraCheckConfig"] = {"EnableInfraCheck": True}
    if resources.spot:
        request["EnableManagedSpotTraining"] = True
        limits["MaxWaitTimeInSeconds"] = resources.max_wait
    if resources.checkpoints:
        request["CheckpointConfig"] = {"S3Uri": store.uri("checkpoints", checkpoint_key)}
    return on_instance_type(request, resources, resources.instance_types[0])


def on_instance_type(request: dict, resources: JobResources, instance_type: str) -> dict:
    """Return REQUEST for another instance type, with the limits that hold for it."""
    hardware = {**request["ResourceConfig"], "InstanceType": instance_type}
    hardware.pop("VolumeKmsKeyId", None)
    if resources.volume_kms_key and not has_local_disks(instance_type):
        hardware["VolumeKmsKeyId"] = resources.volume_kms_key
    limits = {name: value for name, value in request["StoppingCondition"].items() if name != _PENDING}
    if resources.max_pending and instance_type.startswith(ACCELERATED):
        limits[_PENDING] = resources.max_pending
    return {**request, "ResourceConfig": hardware, "StoppingCondition": limits}


def check_request(request: dict, rule: str) -> None:
    """Raise WorkflowError with everything that AWS would refuse in a request."""
    wrong = model.problems("CreateTrainingJob", {"TrainingJobName": "name", **request})
    if wrong:
        raise WorkflowError("\n".join(f"rule {rule}: {problem}" for problem in wrong))
