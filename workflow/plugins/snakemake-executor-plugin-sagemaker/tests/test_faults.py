"""What AWS does to jobs: no capacity, exhausted quotas, throttling, errors of its own, interruptions, limits."""

import pytest

from loopback import (
    CapacityError,
    MaxRuntimeExceeded,
    MaxWaitTimeExceeded,
    PlatformError,
    SlowStart,
    SpotInterruption,
    server_error,
    throttling,
)
from loopback.quotas import quota_name
from running import BUCKET, Workflow
from snakemake_executor_plugin_sagemaker.names import key_part

RETRIED = """
    RULES = ["capacity", "queued_one", "queued_two", "throttled", "refused", "platform", "slow", "retried"]
    RULES += ["moved", "anew", "kept"]
    TYPES = {"queued_one": "ml.g5.xlarge", "queued_two": "ml.g5.xlarge"}
    SEVERAL = {"moved": "ml.p5.48xlarge,ml.p4d.24xlarge", "anew": "ml.p5.48xlarge,ml.g6.xlarge"}
    SEVERAL["kept"] = SEVERAL["anew"]
    RANKS = {"moved": "8,8", "anew": "8,1", "kept": "8,1"}

    rule all:
        input: expand("{rule}.txt", rule=RULES)

    for name in RULES:
        rule:
            name: name
            output: f"{name}.txt"
            priority: 10 if name in TYPES else 0  # one right after the other
            resources:
                instance_type=(TYPES | SEVERAL).get(name, "ml.m5.xlarge"),
                instance_ranks=RANKS.get(name, ""),
                checkpoints=int(name in SEVERAL),
                job_key=name,
                maximum_retry_attempts=int(name == "retried"),
            params: pause=8 if name in TYPES else 0
            shell: "sleep {params.pause}; echo done > {output}"
"""


def test_what_passes_by_itself_is_waited_for_inside(loopback, bucket, tmp_path, aws):
    """And other machines are asked for where there are none of a kind, unless a checkpoint fits no others.

    Snakemake's `retries` stays 0: it would repeat a training that diverges as well.
    """
    loopback.quotas.limits[quota_name("ml.g5.xlarge")] = 1
    loopback.plan(
        CapacityError(job="capacity", times=2),
        PlatformError(job="platform"),
        PlatformError(job="retried"),
        SlowStart(job="moved", instance_type="ml.p5.48xlarge", seconds=600),
        CapacityError(job="anew", instance_type="ml.p5.48xlarge", times=99),
        CapacityError(job="kept", instance_type="ml.p5.48xlarge", times=5),
        SlowStart(job="slow", seconds=2),
        throttling(operation="CreateTrainingJob", job="throttled", times=3),
        server_error(operation="CreateTrainingJob", job="refused", times=2),
        throttling(operation="ListTrainingJobs", times=3),
        server_error(operation="ListTrainingJobs", times=2, nth=6),
        server_error(operation="DescribeTrainingJob", times=2),
    )
    keys = [f"project/checkpoints/{key_part('kept')}/shard", f"project/checkpoints/{key_part('anew')}/claim"]
    for key, size in zip(keys, (5000, 50), strict=True):
        aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=bytes(size))
    workflow = Workflow(tmp_path / "work", RETRIED)
    code, output = workflow.run("--jobs", "11", capacity_wait=1)
    assert code == 0, output
    assert loopback.faults.unused == []
    attempts = {record["rule"]: [one["status"] for one in record["attempts"]] for record in workflow.records()}
    assert attempts["capacity"] == ["Failed", "Failed", "Completed"]
    assert attempts["platform"] == ["Failed", "Completed"]
    assert attempts["slow"] == ["Completed"]
    assert attempts["retried"] == ["Completed"]  # SageMaker itself has started it again
    assert attempts["moved"] == ["Stopped", "Completed"]
    assert attempts["kept"] == [*["Failed"] * 5, "Completed"]
    types = {record["rule"]: [one["instance_type"] for one in record["attempts"]] for record in workflow.records()}
    assert types["moved"] == ["ml.p5.48xlarge", "ml.p4d.24xlarge"]
    assert set(types["anew"][:-1]) == {"ml.p5.48xlarge"} and types["anew"][-1] == "ml.g6.xlarge"
    assert set(types["kept"]) == {"ml.p5.48xlarge"}
    lost = "1 files (0.0 GB) below s3://workflows/project/checkpoints/"
    assert "kept: there is no capacity of ml.p5.48xlarge; on ml.g6.xlarge it would have another number of" in output
    assert lost in output and "anew: no capacity of ml.p5.48xlarge, ml.g6.xlarge is asked for now" in output
    refused = [request for request in loopback.requests.of("CreateTrainingJob") if request.error]
    assert "ResourceLimitExceeded" in {request.error for request in refused}
    [one] = [job for name, job in loopback.jobs.items() if name.startswith("queued-one")]
    [two] = [job for name, job in loopback.jobs.items() if name.startswith("queued-two")]
    first, second = sorted((one.describe(), two.describe()), key=lambda job: job["CreationTime"])
    assert first["TrainingEndTime"] <= second["CreationTime"]


ENDED = """
    rule all:
        input: "spot.txt", "endless.txt", "patient.txt", "wrong.txt", "never.txt"

    rule spot:
        output: "spot.txt"
        resources: spot=1, job_key="spot-of-this-test"
        shell:
            "c=${{SM_ML_ROOT:-/opt/ml}}/checkpoints; ls $c | wc -l > {output};"
            "for step in 1 2 3 4 5 6; do [ -e $c/step-$step ] || sleep 0.4; touch $c/step-$step; done"

    rule endless:
        output: "endless.txt"
        shell: "sleep 600"

    rule patient:
        output: "patient.txt"
        resources: spot=1, max_runtime=300, max_wait=400
        shell: "sleep 600"

    rule wrong:
        output: "wrong.txt"
        log: "logs/wrong.log"
        shell: "echo of the job > {log}; echo loss is NaN; exit 3"

    rule never:
        output: "never.txt"
        resources: instance_type="ml.p5.48xlarge"
        shell: "true"
"""


def test_ends_that_are_final_are_explained_and_spot_resumes(loopback, bucket, tmp_path, aws):
    loopback.plan(
        SpotInterruption(job="spot", when="checkpoints/step-2"),
        MaxRuntimeExceeded(job="endless", after=1),
        MaxWaitTimeExceeded(job="patient", after=1),
        CapacityError(job="never", times=9),
    )
    workflow = Workflow(tmp_path / "work", ENDED)
    code, output = workflow.run("--keep-going", "--show-failed-logs", capacity_retries=2, prices=["ml.m5.xlarge=1"])
    assert code != 0
    assert loopback.faults.unused == []

    assert int(workflow.text("spot.txt")) >= 2, output  # checkpoints that the second start has found
    [spot] = [name for name in loopback.jobs if name.startswith("spot")]
    steps = [step["Status"] for step in loopback.jobs[spot].transitions]
    assert "Interrupted" in steps
    keys = aws.objects("workflows", "project/checkpoints/")
    assert len({key.split("/")[2] for key in keys}) == 1

    assert "longer than max_runtime (86400 s)" in output
    assert "longer than max_wait (400 s)" in output
    assert "after 3 tries: CapacityError: Unable to provision requested ML compute capacity" in output
    assert "loss is NaN" in output
    assert "log-group/$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3Dwrong" in output
    assert workflow.text("logs/wrong.log") == "of the job\n"
    by_rule = {record["rule"]: record for record in workflow.records()}
    assert [one["status"] for one in by_rule["wrong"]["attempts"]] == ["Failed"]
    assert "loss is NaN" in by_rule["wrong"]["attempts"][0]["failure_reason"]
    assert by_rule["endless"]["attempts"][0]["secondary_status"] == "MaxRuntimeExceeded"
    assert by_rule["spot"]["cost_usd"] <= by_rule["spot"]["attempts"][0]["on_demand_cost_usd"]


MISSING_IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:9"


@pytest.mark.parametrize(
    ("resources", "settings", "messages"),
    [
        pytest.param(
            ["threads_=1"],
            {"role": None, "s3_prefix": "bucket/x"},
            ["sagemaker-role is missing", "'bucket/x' is no S3 prefix; expected s3://BUCKET/PREFIX"],
            id="settings",
        ),
        pytest.param(
            ['instance_type="ml.g9.xlarge"', "max_wait=5", *['job_key="same", image="x:1"'] * 2],
            {"image": None},
            [
                "rule job_0: instance_type is 'ml.g9.xlarge', which is no instance type",
                "rule job_0: no image",
                "rule job_1: max_wait without spot=1 means nothing",
                "job_key 'same' is that of another job of rule job_",
            ],
            id="resources",
        ),
        pytest.param(
            ['instance_type="ml.g5.xlarge", instance_count=2, max_runtime=864000'],
            {"s3_prefix": "s3://nowhere/x", "image": MISSING_IMAGE},
            [
                "quota of ml.g5.xlarge for training job usage is 1",
                "quota of Longest run time for a training job is 432000 s, and a job has max_runtime 864000: lower it",
                "the bucket nowhere does not exist",
                f"the image {MISSING_IMAGE} does not exist in ECR",
            ],
            id="answers of AWS",
        ),
    ],
)
def test_mistakes_are_named_all_at_once_before_the_first_job(loopback, bucket, tmp_path, resources, settings, messages):
    loopback.quotas.limits[quota_name("ml.g5.xlarge")] = 1
    targets = ", ".join(f'"{number}.txt"' for number in range(len(resources)))
    rules = [f"rule all:\n    input: {targets}\n"]
    rules += [
        f'rule job_{number}:\n    output: "{number}.txt"\n    resources: {given}\n    shell: "echo > {{output}}"\n'
        for number, given in enumerate(resources)
    ]
    code, output = Workflow(tmp_path / "work", "\n".join(rules)).run(**settings)
    assert code != 0, output
    for message in messages:
        assert message in output, output
    assert loopback.requests.of("CreateTrainingJob") == []
