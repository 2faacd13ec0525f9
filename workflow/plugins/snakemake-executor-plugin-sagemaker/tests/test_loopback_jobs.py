"""One-host jobs on the loopback: requests checked, containers really run, stopped, described, listed, searched."""

import boto3
import pytest
from botocore.exceptions import ClientError

from loopback.examples import python, request

INSTANCE = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}


def refusal(call, **parameters) -> tuple[str, str]:
    """Code and message of the error that a call ends with."""
    with pytest.raises(ClientError) as raised:
        call(**parameters)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.fixture
def sagemaker(loopback):
    return boto3.client("sagemaker")


def test_the_container_finds_the_platform_that_was_asked_for(loopback, sagemaker):
    code = (
        "import json,os,pathlib as p;c=p.Path(os.environ.get('SM_ML_ROOT','/opt/ml'))/'input/config';"
        "print(json.dumps([json.loads((c/f'{n}.json').read_text())for n in('resourceconfig','hyperparameters')]));"
        "print(os.environ['TRAINING_JOB_NAME'],os.environ['MODE'])"
    )
    sagemaker.create_training_job(**python("tree", code, HyperParameters={"lr": "1"}, Environment={"MODE": "quick"}))
    described = loopback.wait("tree")
    assert described["TrainingJobStatus"] == "Completed", loopback.logs.text("tree")
    log = loopback.logs.text("tree")
    assert '"current_instance_type": "ml.g5.xlarge"' in log
    assert '{"lr": "1"}' in log
    assert log.endswith("tree quick")


def test_pid_1_gets_sigterm_and_its_last_words_are_the_jobs(loopback, sagemaker):
    code = (
        "import os,signal,sys,time;signal.signal(15,lambda *_:(print('told to stop',flush=True),sys.exit(0)));"
        "print('pid',os.getpid(),flush=True);time.sleep(60)"
    )
    sagemaker.create_training_job(**python("stopped", code))
    loopback.wait_for_line("stopped", "pid")
    sagemaker.stop_training_job(TrainingJobName="stopped")
    described = loopback.wait("stopped")
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Stopped", "Stopped")
    log = loopback.logs.text("stopped")
    assert "told to stop" in log
    if loopback.use_namespaces:
        assert log.startswith("pid 1\n")
    code, message = refusal(sagemaker.stop_training_job, TrainingJobName="stopped")
    assert (code, message) == (
        "ValidationException",
        "The request was rejected because the training job is in status Stopped.",
    )


class TestDeafContainer:
    @pytest.fixture
    def loopback_options(self):
        return {"grace": 0.3}

    def test_a_container_that_ignores_sigterm_is_killed_after_the_grace(self, loopback, sagemaker):
        code = "import signal,time;signal.signal(15,signal.SIG_IGN);print('deaf',flush=True);time.sleep(600)"
        sagemaker.create_training_job(**python("deaf", code))
        loopback.wait_for_line("deaf", "deaf")
        sagemaker.stop_training_job(TrainingJobName="deaf")
        assert loopback.wait("deaf", 20)["TrainingJobStatus"] == "Stopped"


def test_failure_file_and_exit_code_become_the_reason(loopback, sagemaker):
    code = (
        "import os,sys,pathlib as p;f=p.Path(os.environ.get('SM_ML_ROOT','/opt/ml'))/'output/failure';"
        "f.write_text('CUDA out of memory');sys.exit(3)"
    )
    sagemaker.create_training_job(**python("fails", code))
    described = loopback.wait("fails")
    assert described["TrainingJobStatus"] == "Failed"
    assert described["FailureReason"] == "AlgorithmError: CUDA out of memory, exit code: 3"
    sagemaker.create_training_job(**request("no-command", "no-such-program"))
    assert loopback.wait("no-command")["FailureReason"].endswith("exit code: 127")


def test_transitions_and_times_are_described(loopback, sagemaker):
    sagemaker.create_training_job(**request("timed", "true"))
    loopback.wait("timed")
    described = sagemaker.describe_training_job(TrainingJobName="timed")
    steps = [step["Status"] for step in described["SecondaryStatusTransitions"]]
    assert steps == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(step["StartTime"] <= step["EndTime"] for step in described["SecondaryStatusTransitions"])
    assert described["TrainingTimeInSeconds"] == described["BillableTimeInSeconds"] >= 1
    assert described["CreationTime"] <= described["TrainingStartTime"] <= described["TrainingEndTime"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"TrainingJobName": "a_b"},
            "1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 700}},
            "MaxWaitTimeInSeconds is supported with EnableManagedSpotTraining only.",
        ),
        (
            {"EnableManagedSpotTraining": True},
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds",
        ),
        (
            {"Environment": {"TOKEN": "x" * 513}},
            "Map value must satisfy constraint: [Member must have length less than",
        ),
        ({"HyperParameters": {"k" * 257: "v"}}, "Map keys must satisfy constraint: [Member must have length less than"),
        ({"Tags": [{"Key": "na;me", "Value": "v"}]}, "at 'tags.1.member.key' failed to satisfy constraint"),
        (
            {"Tags": [{"Key": str(n), "Value": ""} for n in range(51)]},
            "Member must have length less than or equal to 50",
        ),
        (
            {"ResourceConfig": {"InstanceType": "ml.g99.huge", "InstanceCount": 1, "VolumeSizeInGB": 1}},
            "Value 'ml.g99.huge' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy",
        ),
        (
            {"ResourceConfig": {**INSTANCE, "KeepAlivePeriodInSeconds": 21601}},
            "1 validation error detected: Value '21601' at 'resourceConfig.keepAlivePeriodInSeconds' failed to satisfy "
            "constraint: Member must have value less than or equal to 21600",
        ),
        ({"HyperParameters": {str(n): "" for n in range(101)}}, "Member must have length less than or equal to 100"),
        ({"Tags": [{"Key": "aws:mine", "Value": ""}]}, "Tag keys must not begin with aws:, which is reserved."),
        ({"RoleArn": "arn:aws:iam::1:user/somebody-else"}, "at 'roleArn' failed to satisfy constraint"),
        ({"CheckpointConfig": {"S3Uri": "file:///checkpoints"}}, "at 'checkpointConfig.s3Uri' failed to satisfy"),
    ],
)
def test_what_aws_would_refuse_is_refused(loopback, sagemaker, change, message):
    code, said = refusal(sagemaker.create_training_job, **{**request("valid", "true"), **change})
    assert code == "ValidationException"
    assert message in said
    assert not loopback.jobs


@pytest.mark.parametrize("argument", ["x" * 257, "two\nlines"])
def test_arguments_keep_to_256_characters_of_one_line(loopback, sagemaker, argument):
    code, said = refusal(sagemaker.create_training_job, **request("long", "true", argument))
    assert code == "ValidationException"
    assert "at 'algorithmSpecification.containerArguments' failed to satisfy constraint" in said
    assert "Member must have length less than or equal to 256" in said


def test_several_violations_are_counted_and_all_told(loopback, sagemaker):
    code, said = refusal(sagemaker.create_training_job, **request("a_b", "true", "x" * 257))
    assert said.startswith("2 validation errors detected: ")


def test_a_request_that_lacks_a_member_is_refused(loopback):
    client = boto3.client("sagemaker", config=boto3.session.Config(parameter_validation=False))
    incomplete = request("incomplete", "true")
    del incomplete["RoleArn"]
    code, said = refusal(client.create_training_job, **incomplete)
    assert "Value null at 'roleArn' failed to satisfy constraint: Member must not be null" in said
    code, _ = refusal(client.create_training_job, **{**request("number", "true"), "RoleArn": 7})
    assert code == "SerializationException"
    never = {**request("never", "true"), "StoppingCondition": {"MaxRuntimeInSeconds": 0}}
    assert refusal(client.create_training_job, **never)[1].endswith("value greater than or equal to 1")


def test_names_are_unique_and_unknown_ones_refused(loopback, sagemaker):
    sagemaker.create_training_job(**request("twice", "true"))
    assert refusal(sagemaker.create_training_job, **request("twice", "true"))[0] == "ResourceInUse"
    assert refusal(sagemaker.describe_training_job, TrainingJobName="never") == (
        "ValidationException",
        "Requested resource not found.",
    )


def test_jobs_are_listed_tagged_and_searched(loopback, sagemaker):
    for number in range(12):
        tags = [{"Key": "key", "Value": f"identity-{number}"}, {"Key": "Straße", "Value": "ÄÖ"}]
        sagemaker.create_training_job(**request(f"list-{number}", "true" if number else "false", Tags=tags))
        loopback.wait(f"list-{number}")
    newest = sagemaker.list_training_jobs(SortOrder="Descending")
    assert [job["TrainingJobName"] for job in newest["TrainingJobSummaries"]] == [f"list-{n}" for n in range(11, 1, -1)]
    rest = sagemaker.list_training_jobs(SortOrder="Descending", NextToken=newest["NextToken"])
    assert [job["TrainingJobName"] for job in rest["TrainingJobSummaries"]] == ["list-1", "list-0"]
    pages = sagemaker.get_paginator("list_training_jobs").paginate(NameContains="LIST-1", SortBy="Name")
    names = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    assert names == ["list-1", "list-10", "list-11"]
    failed = sagemaker.list_training_jobs(StatusEquals="Failed")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in failed] == ["list-0"]
    newest_job = loopback.jobs["list-11"]
    newest_job.created += 100  # the API's times have whole seconds
    later = sagemaker.list_training_jobs(CreationTimeAfter=newest_job.created - 50)["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in later] == ["list-11"]
    earlier = sagemaker.list_training_jobs(CreationTimeBefore=newest_job.created - 50, MaxResults=100)
    assert len(earlier["TrainingJobSummaries"]) == 11

    found = sagemaker.search(
        Resource="TrainingJob",
        SearchExpression={"Filters": [{"Name": "Tags.key", "Operator": "Equals", "Value": "identity-7"}]},
    )
    assert [result["TrainingJob"]["TrainingJobName"] for result in found["Results"]] == ["list-7"]
    arn = loopback.jobs["list-7"].arn
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "adopted", "Value": "yes"}])
    assert {"Key": "adopted", "Value": "yes"} in sagemaker.list_tags(ResourceArn=arn)["Tags"]


def test_every_request_is_recorded(loopback, sagemaker):
    refusal(sagemaker.create_training_job, **request("a_b", "true"))
    sagemaker.create_training_job(**python("secret", "print(1)", Environment={"TOKEN": "planted-token"}))
    loopback.wait("secret")
    for _ in range(3):
        sagemaker.describe_training_job(TrainingJobName="secret")
    assert [request.error for request in loopback.requests.of("CreateTrainingJob")] == ["ValidationException", None]
    assert len(loopback.requests.of("DescribeTrainingJob")) == 3
    assert [request.operation for request in loopback.requests.containing("planted-token")] == ["CreateTrainingJob"]


def test_channels_arrive_and_results_leave(aws, loopback, sagemaker):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="data/train/part/0.txt", Body=b"rows")
    s3.put_object(Bucket="bucket", Key="data/training-notes.txt", Body=b"no part of the channel")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/train"}
    code = (
        "import os,pathlib as p;m=p.Path(os.environ.get('SM_ML_ROOT','/opt/ml'));c=m/'input/data/train';"
        "print(sorted(str(f.relative_to(c))for f in c.rglob('*')));(m/'model/weights').write_text('trained')"
    )
    output = {"S3OutputPath": "s3://bucket/output", "CompressionType": "NONE"}
    channel = {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
    sagemaker.create_training_job(**python("channels", code, InputDataConfig=[channel], OutputDataConfig=output))
    assert loopback.wait("channels")["TrainingJobStatus"] == "Completed"
    assert loopback.logs.text("channels") == "['part', 'part/0.txt']"
    assert aws.objects("bucket", "output/") == {"output/channels/output/model/weights": b"trained"}


def test_the_jobs_clients_reach_the_same_endpoints(aws, loopback, sagemaker):
    aws.client("ssm").put_parameter(Name="/llm/key", Value="resolved", Type="SecureString")
    code = (
        "import boto3;print(boto3.client('ssm').get_parameter(Name='/llm/key',WithDecryption=True)"
        "['Parameter']['Value'],len(boto3.client('sagemaker').list_training_jobs()['TrainingJobSummaries']))"
    )
    own = {"Environment": {"AWS_DEFAULT_REGION": "us-east-1"}}  # SageMaker sets AWS_REGION alone
    sagemaker.create_training_job(**python("clients", code), **own)
    loopback.wait("clients")
    assert loopback.logs.text("clients") == "resolved 1"
