"""The submitting machine: stopping, dying, coming back."""

import signal

import pytest

from loopback import SlowStart
from loopback.quotas import quota_name
from running import Workflow, wait_until

RULES = """
    rule all:
        input: "one.txt", "two.txt", "queued.txt"

    rule one:
        output: "one.txt"
        shell: "echo one > {output}; sleep 600"

    rule two:
        output: "two.txt"
        shell: "sleep 600"

    rule queued:
        output: "queued.txt"
        resources: instance_type="ml.g5.xlarge"
        shell: "sleep 600"
"""


def started(loopback, label: str) -> bool:
    """Whether a job of this rule runs."""
    return any(name.startswith(label) and job.secondary_status == "Training" for name, job in loopback.jobs.items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_runs_and_forgets_what_waits(loopback, bucket, tmp_path, number):
    loopback.quotas.limits[quota_name("ml.g5.xlarge")] = 0
    workflow = Workflow(tmp_path / "work", RULES)
    with workflow.running("--sagemaker-skip-preflight") as controller:
        wait_until(lambda: started(loopback, "one") and started(loopback, "two"), "two running jobs")
        controller.send_signal(number)
        controller.wait(60)
    assert controller.returncode != 0
    for name in list(loopback.jobs):
        assert loopback.wait(name)["TrainingJobStatus"] == "Stopped", workflow.log
    assert len(loopback.jobs) == 2


ADOPTED = """
    rule all:
        input: "quick.txt", "long.txt"

    rule quick:
        output: "quick.txt"
        resources: job_key="quick-identity"
        shell: "echo quick > {output}"

    rule long:
        output: "long.txt"
        shell: "echo long > {output}; sleep 12"
"""


def test_jobs_of_a_killed_controller_are_adopted(loopback, bucket, tmp_path):
    loopback.plan(SlowStart(job="quick", seconds=3))
    workflow = Workflow(tmp_path / "work", ADOPTED)
    with workflow.running("--nolock") as controller:
        wait_until(lambda: len(loopback.jobs) == 2 and started(loopback, "long"), "two jobs")
        controller.kill()
    [quick] = [name for name in loopback.jobs if name.startswith("quick")]
    loopback.wait(quick)
    (workflow.folder / "notes.txt").write_text("a file that no job reads")
    code, output = workflow.run("--nolock", "--rerun-incomplete")
    assert code == 0, output
    assert output.count("Adopted training job") == 2
    assert len(loopback.jobs) == 2
    assert workflow.text("quick.txt") == "quick\n"
    assert workflow.text("long.txt") == "long\n"

    code, output = workflow.run("--nolock", "--forcerun", "quick")
    assert code == 0, output
    assert len(loopback.jobs) == 3  # asked for on purpose: runs again
