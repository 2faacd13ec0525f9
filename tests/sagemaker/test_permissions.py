"""SECURITY.md's policies are enough for a job, and nothing in them is too much.

All of them one after the other: HEIRLOOM_ALL_CASES=1 pytest tests/sagemaker/test_permissions.py
"""

import logging
import os
import random
from pathlib import Path

import boto3
import pytest
from cloud import BUCKET, PLUGIN_SOURCES
from job_by_hand import PREFIX
from loopback import LoopbackSageMaker, SlowStart
from loopback.permissions import Permissions
from loopback.plugin import REGION, Aws
from policies import PERSON, ROLE, Right, policies, rights, without
from snakemake_executor_plugin_sagemaker import ExecutorSettings, cloudwatch, jobfile
from snakemake_executor_plugin_sagemaker.archive import source_archive
from snakemake_executor_plugin_sagemaker.collection import collect, require_success
from snakemake_executor_plugin_sagemaker.flights import Flight, Flights
from snakemake_executor_plugin_sagemaker.journal import Journal
from snakemake_executor_plugin_sagemaker.objects import ObjectStore
from snakemake_executor_plugin_sagemaker.polling import Poller
from snakemake_executor_plugin_sagemaker.request import training_job_request
from snakemake_executor_plugin_sagemaker.resources import JobResources
from snakemake_executor_plugin_sagemaker.secrets import LeakGuard
from snakemake_executor_plugin_sagemaker.submission import Submitter
from snakemake_executor_plugin_sagemaker.transfer import send

SAMPLE, SEED = 3, 20261129
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/heirloom:1"
COMMAND = """
ml=${SM_ML_ROOT:-/opt/ml}; rm $ml/checkpoints/old; echo 2 > $ml/checkpoints/new; echo 3 > $ml/model/kept
printf '%s %s' "$HF_TOKEN" "$WANDB_API_KEY" | wc -c > out; cat input; echo l > log
"""
REFUSED = "(?i)AccessDenied|access denied|not authorized|cannot pull|forbidden|was denied"
LOG = logging.getLogger("plugin")


class Account:
    """An AWS in which only those may do something whom the policies allow it."""

    def __init__(self, aws: Aws, policies: dict[str, dict], folder: Path):
        self.aws, self.folder = aws, folder
        s3, content = aws.client("s3"), b"1"
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="jobs/checkpoints/key/old", Body=content)
        secret = aws.client("secretsmanager").create_secret(Name="heirloom/hub", SecretString="hf_secret_of_hub")
        aws.client("ssm").put_parameter(Name="/heirloom/wandb", Value="wandb-secret", Type="SecureString")
        self.references = {"HF_TOKEN": f"secretsmanager:{secret['ARN']}", "WANDB_API_KEY": "ssm:/heirloom/wandb"}
        self.permissions = Permissions(policies)

    def client(self, service: str, who: str, endpoint: str | None = None):
        own = {name.lower(): value for name, value in self.permissions.variables[who].items()}
        return boto3.client(service, endpoint_url=endpoint or self.aws.endpoint, region_name=REGION, **own)

    def remote(self, who: str) -> None:
        """Do to the DVC remote what DVC does: list, write, read."""
        s3, key = self.client("s3", who), "data/files/md5/aa/bb"
        s3.list_objects_v2(Bucket=BUCKET, Prefix="data/files/md5/")
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"row")
        s3.get_object(Bucket=BUCKET, Key=key)

    def give_up_an_upload(self) -> None:
        """Do what the container does with the parts of a checkpoint that did not get to S3 in time."""
        s3, place = self.client("s3", ROLE), {"Bucket": BUCKET, "Key": "jobs/checkpoints/key/shard"}
        s3.abort_multipart_upload(**place, UploadId=s3.create_multipart_upload(**place)["UploadId"])

    def one_job(self, loopback: LoopbackSageMaker) -> None:
        """Submit a job, wait for its end, fetch its results and its log, and stop another one."""
        self.remote(PERSON)
        self.give_up_an_upload()
        api = self.client("sagemaker", PERSON, loopback.endpoint)
        store = ObjectStore(self.client("s3", PERSON), PREFIX)
        poller = Poller(api, PREFIX, LOG)
        submitter = Submitter(api, ExecutorSettings(s3_prefix=PREFIX), Journal(self.folder / "jobs"), Flights(), LOG)
        flight = self.flight(store, "key")
        submitter.submit(flight)
        reason = loopback.wait(flight.training_job).get("FailureReason")
        states, description = poller.states([flight]), poller.description(flight)
        assert reason is None, reason
        assert states == {flight.training_job: ("Completed", "Completed")}, "the list was denied"
        assert description, "the description was denied"
        require_success(collect(store, flight.training_job, self.folder, flight.may_return), flight.training_job)
        assert (self.folder / "out").read_text().strip() == "29"
        log = cloudwatch.tail(self.client("logs", PERSON, loopback.endpoint), flight.training_job, 99)
        assert "what the job reads" in log, log or "the log was denied"
        self.remote(ROLE)
        kept = self.aws.objects(BUCKET, "jobs/checkpoints/")
        assert kept == {"jobs/checkpoints/key/new": b"2\n"}, loopback.logs.text(flight.training_job)
        assert f"jobs/output/{flight.training_job}/output/model/kept" in self.aws.objects(BUCKET, "jobs/output/")
        loopback.plan(SlowStart(job="second", seconds=60))
        second = self.flight(store, "second")
        submitter.submit(second)
        api.stop_training_job(TrainingJobName=second.training_job)
        assert loopback.wait(second.training_job)["TrainingJobStatus"] == "Stopped"

    def flight(self, store: ObjectStore, key: str) -> Flight:
        """Return a job as the executor makes it."""
        guard = LeakGuard({})
        (self.folder / "input").write_text("what the job reads\n")
        content = {
            "format": jobfile.FORMAT,
            "command": COMMAND,
            "worker_command": None,
            "host_timeout": 30,
            "sources": store.put_bytes(source_archive(["input"], self.folder, guard)),
            "inputs": send(["input"], self.folder, store, guard, "the input"),
            "results": ["out"],
            "logs": ["log"],
            "checkpoints": key,
        }
        resources = JobResources(
            "ml.m5.xlarge", 1, 30, IMAGE, 600, spot=True, max_wait=1200, checkpoints=True, tags={"team": "a"}
        )
        settings = ExecutorSettings(role=ROLE, s3_prefix=PREFIX)
        file = store.put_bytes(jobfile.encode(content))
        request = training_job_request(resources, settings, self.references, store, file, key, key, "us-east-1")
        return Flight(None, key, key, resources, request, ["out"], ["out", "log"])


def run_with(rules: dict[str, dict], aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one job where nobody may do more than the policies say. Raises what the job fails with."""
    (folder / "place").mkdir()
    monkeypatch.setattr(cloudwatch, "_PAUSE", 0.0)
    account = Account(aws, rules, folder / "place")
    image = aws.variables | {"PYTHONPATH": str(PLUGIN_SOURCES)}
    with account.permissions.enforced(aws.endpoint) as everything:
        account.aws = Aws(aws.endpoint, everything)
        options = {"container_env": image, "permissions": account.permissions, "checkpoint_interval": 60.0}
        with LoopbackSageMaker(**options) as loopback:
            account.one_job(loopback)


def sample() -> list[Right]:
    """Return some rights of the policies, or all."""
    everything = list(rights())
    return everything if os.environ.get("HEIRLOOM_ALL_CASES") else random.Random(SEED).sample(everything, SAMPLE)


def test_a_job_needs_no_more_than_the_policies_allow(aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(policies(), aws, tmp_path, monkeypatch)


@pytest.mark.parametrize("right", sample(), ids=lambda right: "-".join(map(str, right[1:])))
def test_a_job_fails_without(right: Right, aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match=REFUSED):
        run_with(without(right), aws, tmp_path, monkeypatch)
