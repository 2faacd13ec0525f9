"""Checkpoints between /opt/ml/checkpoints and S3, and the pages of CloudWatch Logs."""

import time

import boto3
import pytest
from botocore.exceptions import ClientError

from loopback.examples import python, request

GROUP = "/aws/sagemaker/TrainingJobs"
FOLDER = "import os,pathlib,time;c=pathlib.Path(os.environ.get('SM_ML_ROOT','/opt/ml'))/'checkpoints';"
CHECKPOINTS = {"CheckpointConfig": {"S3Uri": "s3://bucket/run/"}}


@pytest.fixture
def sagemaker(aws, loopback):
    aws.client("s3").create_bucket(Bucket="bucket")
    return boto3.client("sagemaker")


def test_checkpoints_are_mirrored_while_the_job_runs(aws, loopback, sagemaker):
    aws.client("s3").put_object(Bucket="bucket", Key="run/old/state", Body=b"from before")
    code = (
        FOLDER + "print((c/'old/state').read_text());(c/'old/state').unlink();(c/'new').write_text('1');time.sleep(60)"
    )
    sagemaker.create_training_job(**python("mirrored", code, **CHECKPOINTS))
    until = time.monotonic() + 20
    while aws.objects("bucket", "run/") != {"run/new": b"1"}:
        assert time.monotonic() < until, aws.objects("bucket", "run/")
        time.sleep(0.05)
    assert loopback.jobs["mirrored"].secondary_status == "Training"
    assert loopback.logs.text("mirrored") == "from before"


def test_all_hosts_write_below_one_prefix_and_delete_only_what_was_theirs(aws, loopback, sagemaker):
    aws.client("s3").put_object(Bucket="bucket", Key="run/shared", Body=b"all")
    code = FOLDER + "h=os.environ['HOSTNAME'];(c/h).write_text(h);(c/'shared').unlink()if h=='algo-1'else 0;"
    code += "time.sleep(2);(c/f'{h}-late').touch()"
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    sagemaker.create_training_job(**python("hosts", code, ResourceConfig=resources, **CHECKPOINTS))
    assert loopback.wait("hosts")["TrainingJobStatus"] == "Completed", loopback.logs.text("hosts")
    # what is written last may be copied or not: after a job's end nothing is, and a busy machine ends it late
    found = {key: value for key, value in aws.objects("bucket", "run/").items() if not key.endswith("-late")}
    assert found == {"run/algo-1": b"algo-1", "run/algo-2": b"algo-2"}


def test_another_local_path_and_a_missing_bucket(aws, loopback, sagemaker):
    code = FOLDER.replace("checkpoints", "state/kept") + "(c/'a').write_text('b');time.sleep(1.5)"
    config = {"S3Uri": "s3://bucket/run", "LocalPath": "/opt/ml/state/kept"}
    sagemaker.create_training_job(**python("elsewhere", code, CheckpointConfig=config))
    loopback.wait("elsewhere")
    assert aws.objects("bucket") == {"run/a": b"b"}
    sagemaker.create_training_job(**request("nowhere", "true", CheckpointConfig={"S3Uri": "s3://missing/run"}))
    assert loopback.wait("nowhere")["FailureReason"].startswith("ClientError: Data transfer failed: ")
    with pytest.raises(ClientError, match="below /opt/ml only"):
        outside = {"S3Uri": "s3://bucket/run", "LocalPath": "/var/state"}
        sagemaker.create_training_job(**request("outside", "true", CheckpointConfig=outside))


def test_log_events_come_in_pages_in_both_directions(loopback, sagemaker):
    code = "[print('line',n)for n in range(25)];print(end='last')"
    sagemaker.create_training_job(**python("talks", code))
    loopback.wait("talks")
    logs = boto3.client("logs")
    streams = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix="talks/")["logStreams"]
    stream = {"logGroupName": GROUP, "logStreamName": streams[0]["logStreamName"]}
    assert stream["logStreamName"].startswith("talks/algo-1-")

    def lines(page: dict) -> list[str]:
        return [event["message"] for event in page["events"]]

    first = logs.get_log_events(**stream, startFromHead=True, limit=20)
    assert lines(first) == [f"line {n}" for n in range(20)]
    second = logs.get_log_events(**stream, nextToken=first["nextForwardToken"])
    assert lines(second) == ["line 20", "line 21", "line 22", "line 23", "line 24", "last"]
    end = logs.get_log_events(**stream, nextToken=second["nextForwardToken"])
    assert (end["events"], end["nextForwardToken"]) == ([], second["nextForwardToken"])
    tail = logs.get_log_events(**stream, limit=2)
    assert lines(tail) == ["line 24", "last"]
    assert lines(logs.get_log_events(**stream, nextToken=tail["nextBackwardToken"], limit=1)) == ["line 23"]

    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP, logStreamNamePrefix="talks/", filterPattern="line", PaginationConfig={"PageSize": 7}
    )
    assert [event["message"] for page in pages for event in page["events"]] == [f"line {n}" for n in range(25)]
    newest = max(event["timestamp"] for event in end["events"] + second["events"])
    assert logs.get_log_events(**stream, startTime=newest + 1, startFromHead=True)["events"] == []


def test_events_can_be_shown_late(loopback, sagemaker):
    loopback.logs.lag = 3600
    sagemaker.create_training_job(**python("lags", "print('said')"))
    loopback.wait("lags")
    assert loopback.logs.text("lags") == "said"
    logs = boto3.client("logs")
    assert logs.describe_log_streams(logGroupName=GROUP)["logStreams"] == []
    loopback.logs.lag = 0
    assert len(logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix="lags/")["events"]) == 1


def test_streams_that_have_no_event_or_do_not_exist(loopback, sagemaker):
    logs = boto3.client("logs")
    sagemaker.create_training_job(**request("silent", "true"))
    loopback.wait("silent")
    assert logs.describe_log_streams(logGroupName=GROUP)["logStreams"] == []
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.get_log_events(logGroupName=GROUP, logStreamName="silent/algo-1-0")
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.get_log_events(logGroupName="/aws/lambda", logStreamName="silent/algo-1-0")
