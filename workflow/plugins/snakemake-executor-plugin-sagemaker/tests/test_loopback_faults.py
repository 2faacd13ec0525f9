"""Everything that goes wrong on request, and the limits that hold without a request."""

import math
import re
import textwrap

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from loopback import (
    CapacityError,
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
from loopback.examples import python, request
from loopback.job import SPOT_PRICE_RATIO

SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200},
}


@pytest.fixture
def loopback_options() -> dict:
    return {"grace": 0.3}  # `sleep` as PID 1 ignores SIGTERM


@pytest.fixture
def sagemaker(loopback):
    """A client that sees each error instead of trying again."""
    return boto3.client("sagemaker", config=Config(retries={"total_max_attempts": 1}))


def code_of(call, **parameters) -> str:
    """The code of the error that a call ends with."""
    with pytest.raises(ClientError) as raised:
        call(**parameters)
    return raised.value.response["Error"]["Code"]


def test_requests_are_refused_as_often_as_planned(loopback, sagemaker):
    loopback.plan(
        throttling(operation="DescribeTrainingJob", times=2),
        server_error(operation="CreateTrainingJob", nth=2),
        Refusal(job="odd", code="AccessDeniedException", message="no PassRole"),
    )
    sagemaker.create_training_job(**request("first", "true"))
    assert code_of(sagemaker.create_training_job, **request("second", "true")) == "InternalFailure"
    assert code_of(sagemaker.create_training_job, **request("odd-one", "true")) == "AccessDeniedException"
    assert not loopback.faults.unused or loopback.faults.unused[0].operation == "DescribeTrainingJob"
    for _ in range(2):
        assert code_of(sagemaker.describe_training_job, TrainingJobName="first") == "ThrottlingException"
    loopback.wait("first")
    assert sagemaker.describe_training_job(TrainingJobName="first")["TrainingJobStatus"] == "Completed"
    assert not loopback.faults.unused


def test_a_client_that_tries_again_gets_through_throttling_and_500(loopback):
    loopback.plan(throttling(), server_error())
    patient = boto3.client("sagemaker", config=Config(retries={"mode": "standard", "total_max_attempts": 4}))
    patient.create_training_job(**request("patient", "true"))
    assert [each.error for each in loopback.requests] == ["ThrottlingException", "InternalFailure", None]


def test_quotas_are_listed_and_enforced(loopback, sagemaker):
    quotas = boto3.client("service-quotas")
    name = "ml.g5.xlarge for training job usage"
    loopback.quotas.limits[name] = 1
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    listed = {quota["QuotaName"]: quota for page in pages for quota in page["Quotas"]}
    assert listed[name]["Value"] == 1
    assert "ml.p4d.24xlarge for spot training job usage" in listed
    code = listed[name]["QuotaCode"]
    assert quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode=code)["Quota"]["QuotaName"] == name

    sagemaker.create_training_job(**request("holds", "sleep", "60"))
    with pytest.raises(ClientError, match="The account-level service limit 'ml.g5.xlarge for training job usage' is 1"):
        sagemaker.create_training_job(**request("waits", "true"))
    sagemaker.create_training_job(**request("other-quota", "true", **SPOT))
    sagemaker.stop_training_job(TrainingJobName="holds")
    loopback.wait("holds")
    sagemaker.create_training_job(**request("waits", "true"))
    assert loopback.wait("waits")["TrainingJobStatus"] == "Completed"

    loopback.plan(quota_exceeded(job="planned"))
    assert code_of(sagemaker.create_training_job, **request("planned", "true")) == "ResourceLimitExceeded"


def test_a_job_without_capacity_fails_before_it_starts(loopback, sagemaker):
    loopback.plan(CapacityError(job="big", times=2))
    for name, status in (("big-1", "Failed"), ("small", "Completed"), ("big-2", "Failed"), ("big-3", "Completed")):
        sagemaker.create_training_job(**request(name, "true"))
        assert loopback.wait(name)["TrainingJobStatus"] == status
    described = loopback.jobs["big-1"].describe()
    assert described["FailureReason"].startswith("CapacityError: Unable to provision requested ML compute capacity.")
    assert "BillableTimeInSeconds" not in described


def test_a_slow_job_is_pending_and_can_be_stopped_meanwhile(loopback, sagemaker):
    loopback.plan(SlowStart(job="slow", seconds=0.5), SlowStart(job="never", seconds=600))
    sagemaker.create_training_job(**request("slow", "true"))
    sagemaker.create_training_job(**request("never", "true"))
    loopback.wait_for("never", "Pending")
    sagemaker.stop_training_job(TrainingJobName="never")
    described = loopback.wait("never", 20)
    assert (described["TrainingJobStatus"], described.get("TrainingStartTime")) == ("Stopped", None)
    loopback.wait("slow")
    steps = [step["Status"] for step in loopback.jobs["slow"].transitions]
    assert steps == ["Starting", "Pending", "Starting", "Downloading", "Training", "Uploading", "Completed"]


COUNTING = """
    import os, pathlib, signal, sys, time
    folder = pathlib.Path(os.environ.get("SM_ML_ROOT", "/opt/ml")) / "checkpoints"
    done = max([int(path.name) for path in folder.iterdir()], default=0)
    print("from", done, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: (print("evicted", flush=True), (folder / "99").touch(), sys.exit(1)))
    for step in range(done + 1, 13):
        (folder / str(step)).write_text(f"state {step}")
        time.sleep(0.05 if done else 0.3)
"""


@pytest.mark.parametrize("loopback_options", [{"use_namespaces": None}, {"use_namespaces": False}])
def test_an_interrupted_spot_job_goes_on_from_its_checkpoint(aws, loopback, sagemaker, tmp_path):
    aws.client("s3").create_bucket(Bucket="bucket")
    script = tmp_path / "count.py"
    script.write_text(textwrap.dedent(COUNTING))
    loopback.plan(SpotInterruption(job="spot", when="checkpoints/2"), SpotInterruption(job="on-demand"))
    checkpoints = {"CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"}}
    sagemaker.create_training_job(**request("spot", "python", str(script), **SPOT, **checkpoints))
    described = loopback.wait("spot")
    assert described["TrainingJobStatus"] == "Completed", described
    log = loopback.logs.text("spot")
    assert re.fullmatch(r"from 0\nevicted\nfrom [123]", log), log
    steps = [step["Status"] for step in described["SecondaryStatusTransitions"]]
    assert steps == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert "checkpoints/99" not in aws.objects("bucket", "checkpoints/")  # after SIGTERM nothing is copied
    # both are whole seconds, rounded up
    assert described["BillableTimeInSeconds"] == math.ceil(loopback.jobs["spot"].trained_seconds * SPOT_PRICE_RATIO)

    sagemaker.create_training_job(**request("on-demand", "true"))
    loopback.wait("on-demand")
    assert "Interrupted" not in [step["Status"] for step in loopback.jobs["on-demand"].transitions]


def test_an_eviction_does_not_wait_longer_than_its_grace(aws, loopback, sagemaker):
    loopback.plan(SpotInterruption(job="deaf", grace=0.2, when="model/*"))
    code = (
        "import signal,time,pathlib;signal.signal(15,signal.SIG_IGN);p=pathlib.Path('/tmp/home');"
        "import os;m=pathlib.Path(os.environ.get('SM_ML_ROOT','/opt/ml'))/'model';(m/'a').touch();time.sleep(1.5)"
    )
    sagemaker.create_training_job(**python("deaf", code, **SPOT))
    loopback.wait_for("deaf", "Interrupted", 20)


@pytest.mark.parametrize("fault", [None, MaxRuntimeExceeded(after=0.2)])
def test_a_job_over_its_runtime_is_stopped(loopback, sagemaker, fault):
    if fault:
        loopback.plan(fault)
    limit = {"MaxRuntimeInSeconds": 600 if fault else 1}
    sagemaker.create_training_job(**request("long", "sleep", "60", StoppingCondition=limit))
    described = loopback.wait("long", 30)
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


@pytest.mark.parametrize("planned", [False, True])
def test_a_spot_job_that_waits_too_long_is_stopped(loopback, sagemaker, planned):
    loopback.plan(SlowStart(seconds=600))
    if planned:
        loopback.plan(MaxWaitTimeExceeded(after=0.2))
    limit = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 600 if planned else 1}
    more = {"EnableManagedSpotTraining": True, "StoppingCondition": limit}
    sagemaker.create_training_job(**request("waits", "true", **more))
    described = loopback.wait("waits", 30)
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")


def test_a_failure_of_the_platform_is_told_as_one(loopback, sagemaker):
    loopback.plan(PlatformError(after=0.1))
    sagemaker.create_training_job(**request("unlucky", "sleep", "60"))
    assert loopback.wait("unlucky", 30)["FailureReason"].startswith("InternalServerError: ")
