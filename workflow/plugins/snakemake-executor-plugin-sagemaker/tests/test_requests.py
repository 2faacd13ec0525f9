"""Requests, resources and names: valid against botocore's model, and mistakes in one sentence."""

from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ParamValidationError
from botocore.stub import Stubber
from snakemake_interface_common.exceptions import WorkflowError

from running import IMAGE, PREFIX, ROLE
from snakemake_executor_plugin_sagemaker import ExecutorSettings, model
from snakemake_executor_plugin_sagemaker.names import job_label, key_part, key_part_of, namespace, training_job_name
from snakemake_executor_plugin_sagemaker.objects import ObjectStore
from snakemake_executor_plugin_sagemaker.preflight import Preflight
from snakemake_executor_plugin_sagemaker.request import check_request, training_job_request
from snakemake_executor_plugin_sagemaker.resources import ResourcesError, read_resources

DIGEST = "0" * 64
SETTINGS = {"role": ROLE, "region": "us-east-1", "s3_prefix": PREFIX, "image": IMAGE, "instance_type": "ml.m5.xlarge"}


def resources(**given):
    settings = ExecutorSettings(**SETTINGS)
    return read_resources(SimpleNamespace(name="train", resources=given), settings)


def request(environment=None, settings=None, **given) -> dict:
    settings = ExecutorSettings(**(SETTINGS | (settings or {})))
    job = SimpleNamespace(name="train", resources=given)
    store = ObjectStore(None, settings.s3_prefix)
    return training_job_request(
        read_resources(job, settings),
        settings,
        environment or {},
        store,
        DIGEST,
        "train",
        "checkpoints-key",
        "eu-west-1",
    )


def test_the_smallest_and_the_largest_request_are_valid():
    small = request()
    check_request(small, "train")
    assert small["AlgorithmSpecification"]["ContainerArguments"] == [PREFIX, DIGEST]
    assert small["Environment"] == {"AWS_DEFAULT_REGION": "eu-west-1"}
    optional = {"CheckpointConfig", "EnableManagedSpotTraining", "VpcConfig", "EnableInterContainerTrafficEncryption"}
    assert not optional & set(small)
    key = "arn:aws:kms:eu-west-1:123456789012:key/0a1b"
    large = request(
        {"MODE": "fast"},
        instance_type="ml.p4d.24xlarge",
        instance_count=16,
        volume_size="500",
        spot="True",
        max_runtime=3600,
        max_wait=7200,
        efa=1,
        subnets="subnet-1,subnet-2",
        security_group_ids="sg-1",
        traffic_encryption=1,
        kms_key=key,
        tags="team=blue,cost=7",
        settings={"volume_kms_key": key},
    )
    check_request(large, "train")
    assert large["EnableInterContainerTrafficEncryption"] is True
    assert request(settings={"traffic_encryption": True})["EnableInterContainerTrafficEncryption"] is True
    assert optional.isdisjoint(request(settings={"traffic_encryption": True}, traffic_encryption=0))
    assert large["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert large["CheckpointConfig"] == {"S3Uri": f"{PREFIX}/checkpoints/checkpoints-key"}
    assert large["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert large["Environment"]["FI_PROVIDER"] == "efa"
    assert large["OutputDataConfig"]["KmsKeyId"] == key
    assert "VolumeKmsKeyId" not in large["ResourceConfig"]  # its disks are its own
    assert request(volume_kms_key=key)["ResourceConfig"]["VolumeKmsKeyId"] == key
    assert {"Key": "cost", "Value": "7"} in large["Tags"]
    plan = "arn:aws:sagemaker:eu-west-1:123456789012:training-plan/p5-of-may"
    reserved = request(
        instance_type="ml.p5.48xlarge",
        training_plan_arn=plan,
        infra_check=1,
        maximum_retry_attempts=3,
        max_pending=7200,
    )
    check_request(reserved, "train")
    assert reserved["ResourceConfig"]["TrainingPlanArn"] == plan
    assert reserved["InfraCheckConfig"] == {"EnableInfraCheck": True}
    assert reserved["RetryStrategy"] == {"MaximumRetryAttempts": 3}
    assert reserved["StoppingCondition"]["MaxPendingTimeInSeconds"] == 7200
    assert "MaxPendingTimeInSeconds" not in request(settings={"max_pending": 7200})["StoppingCondition"]  # no GPU
    warm = request(keep_alive=600, settings={"tags": ["owner=me"]})
    check_request(warm, "train")
    assert warm["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"environment": {"LONG": "x" * 513}}, "Environment.LONG .* has 513 characters, more than 512"),
        ({"environment": {"not a name": "x"}}, "Environment key is 'not a name', which does not match"),
        ({"environment": {f"N{n}": "" for n in range(101)}}, "Environment has 102 entries, more than 100"),
        ({"settings": {"role": "me"}}, r"RoleArn \('me'\) has 2 characters, fewer than 20"),
        ({"keep_alive": 21601}, "KeepAlivePeriodInSeconds is 21601, more than 21600"),
        ({"tags": "a;b=1"}, r"Tags\[1\].Key is 'a;b', which does not match"),
        ({"subnets": ",".join("abcdefghijklmnopq"), "security_group_ids": "sg"}, "Subnets has 17 items, more than 16"),
        ({"settings": {"s3_prefix": "s3://bucket/" + "x" * 250}}, "ContainerArguments.* more than 256"),
    ],
)
def test_what_aws_would_refuse_is_named(change, problem):
    with pytest.raises(WorkflowError, match=f"rule train: .*{problem}"):
        check_request(request(**change), "train")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"instance_count": 0}, "instance_count is 0; expected a whole number of at least 1"),
        ({"spot": "yes"}, "spot is 'yes'; expected 1 or 0"),
        ({"spot": 1, "max_runtime": 100, "max_wait": 50}, "max_wait is 50 s, less than max_runtime"),
        ({"spot": 1, "keep_alive": 60}, "keep_alive and spot exclude each other"),
        ({"subnets": "subnet-1"}, "subnets and security_group_ids come together"),
        ({"efa": 1}, "efa=1 with ml.m5.xlarge, which has no Elastic Fabric Adapter"),
        ({"max_runtime": 29 * 86400}, "max_runtime is 2505600 s; a training job runs 2419200 s"),
        ({"tags": "blue"}, "tag 'blue'; expected KEY=VALUE"),
        ({"volume_kms_key": "k", "instance_type": "ml.g5.xlarge"}, "volume_kms_key with ml.g5.xlarge, whose disks are"),
        (
            {"max_pending": 3600},
            "max_pending with ml.m5.xlarge: SageMaker heeds it for machines with accelerators alone",
        ),
        ({"max_pending": 60, "instance_type": "ml.g5.xlarge"}, "max_pending is 60 s; SageMaker takes 1800 to 2419200"),
        ({"maximum_retry_attempts": 31}, "maximum_retry_attempts is 31; SageMaker takes 30 at most"),
        ({"training_plan_arn": "arn", "spot": 1}, "training_plan_arn and spot exclude each other"),
        ({"training_plan_arn": "arn", "instance_type": "ml.g5.xlarge,ml.g6.xlarge"}, "training_plan_arn with several"),
        ({"instance_type": "ml.g5.xlarge,ml.g9.xlarge"}, "instance_type is 'ml.g9.xlarge', which is no instance type"),
        ({"instance_type": "ml.g5.xlarge,ml.g5.xlarge"}, "instance_type names one type twice"),
        ({"instance_type": "ml.g5.xlarge,ml.g6.xlarge", "instance_ranks": "1"}, "instance_ranks needs one number for"),
        ({"instance_ranks": "many"}, "instance_ranks is 'many'; expected whole numbers"),
    ],
)
def test_resources_that_contradict_are_named(given, message):
    with pytest.raises(ResourcesError) as raised:
        resources(**given)
    assert f"rule train: {message}" in str(raised.value)


def test_all_mistakes_of_a_job_are_named_at_once():
    with pytest.raises(ResourcesError) as raised:
        resources(instance_type="m5.xlarge", volume_size="big", max_wait=3)
    assert len(str(raised.value).splitlines()) == 3


def test_the_model_is_what_botocore_checks_and_more():
    client = boto3.client("sagemaker", region_name="us-east-1", endpoint_url="http://127.0.0.1:9")
    wrong = {"TrainingJobName": "a_b", "RoleArn": ROLE, "OutputDataConfig": {"S3OutputPath": 3}, "Surprise": 1}
    found = model.problems("CreateTrainingJob", wrong)
    with pytest.raises(ParamValidationError):
        client.create_training_job(**wrong)
    assert [problem.split(" ")[0] for problem in found] == [
        "TrainingJobName",
        "OutputDataConfig.S3OutputPath",
        "Surprise",
    ]
    assert model.problems("CreateTrainingJob", {})[0] == "TrainingJobName is missing"
    assert "ml.p5.48xlarge" in model.instance_types()


@pytest.mark.parametrize("name", ["train", "a_very_long_rule_name_that_goes_on_and_on_for_ever", "__", "règle"])
def test_names_are_valid_and_found_again(name):
    job = SimpleNamespace(name=name, wildcards_dict={"run": "demo/dpo", "n": "7"})
    made = [training_job_name(job_label(job), PREFIX, "key") for _ in range(3)]
    assert len(set(made)) == 3
    for each in made:
        assert model.problems("CreateTrainingJob", {"TrainingJobName": each})[0] == "RoleArn is missing"
        assert namespace(PREFIX) in each
        assert key_part_of(each) == key_part("key")
    assert namespace(PREFIX) == namespace(PREFIX + "/")
    assert training_job_name(job_label(job), PREFIX + "2", "key").rsplit("-", 1)[0] != made[0].rsplit("-", 1)[0]


ITSELF = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}
OPEN = {
    "sg-2": {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}, {"GroupId": "sg-2"}]},
    "0.0.0.0/0": {"IpProtocol": "tcp", "FromPort": 7712, "ToPort": 7712, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
    "::/0": {"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
    "pl-7": {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-7"}]},
}


class Session:
    """Answers for EC2, held against its model, and keeps what is logged."""

    def __init__(self):
        self.ec2 = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        self.stub = Stubber(self.ec2)
        self.stub.activate()
        self.said = []

    def client(self, name):
        assert name == "ec2"
        return self.ec2

    def info(self, line):
        self.said.append(f"info: {line}")

    def warning(self, line):
        self.said.append(f"warning: {line}")

    def looked(self, **given) -> list[str]:
        job = resources(subnets="subnet-1", security_group_ids="sg-1", **given)
        return list(Preflight(self, self)._open_groups([job])) + self.said


def groups(*rules) -> dict:
    return {"SecurityGroups": [{"GroupId": "sg-1", "GroupName": "x", "Description": "x", "IpPermissions": list(rules)}]}


@pytest.mark.parametrize("other", OPEN)
def test_a_security_group_that_lets_in_others_is_told(other):
    session = Session()
    session.stub.add_response("describe_security_groups", groups(ITSELF, OPEN[other]), {"GroupIds": ["sg-1"]})
    (told,) = session.looked(instance_count=2)
    assert told.startswith(f"the security group sg-1 lets in {other}: whoever is there can disturb, read or join")


def test_a_group_of_its_own_and_a_single_host_are_fine_and_what_cannot_be_asked_is_told():
    session = Session()
    assert session.looked() == []  # one host: nobody is asked
    session.stub.add_response("describe_security_groups", groups(ITSELF))
    assert session.looked(instance_count=2) == []
    session.stub.add_client_error("describe_security_groups", "UnauthorizedOperation")
    (told,) = session.looked(instance_count=2)
    assert told.startswith("info: SageMaker: the security groups sg-1 could not be checked before the first job")
