"""Jobs on several hosts: the head runs the Snakemake job, the others a worker command, and all end together."""

import pytest

from loopback import HostDeath, LateNames
from running import Workflow

UP = "input/data/workflow/up"  # what the worker command writes when it runs
RULES = """
    rule all:
        input: "two.txt", "four.txt", "worker_fails.txt", "host_dies.txt", "cut_off.txt"

    rule two:
        output: "two.txt"
        resources: instance_count=2, worker_command="echo {rule} on $SM_CURRENT_HOST; sleep 600"
        shell: "echo $SM_HOSTS $SM_MASTER_ADDR > {output}"

    rule four:
        output: "four.txt"
        resources: instance_count=4, record="four.json"
        shell: "echo $SM_HOST_COUNT > {output}"

    rule worker_fails:
        output: "worker_fails.txt"
        resources: instance_count=2, worker_command="echo CUDA out of memory; exit 9"
        shell: "sleep 600"

    rule host_dies:
        output: "host_dies.txt"
        resources: instance_count=2, worker_command="touch up; sleep 600"
        shell: "sleep 600"

    rule cut_off:
        output: "cut_off.txt"
        resources: instance_count=2, worker_command="touch up; sleep 600"
        shell: "sleep 600"
"""


def test_hosts_end_together(loopback, bucket, tmp_path):
    if not loopback.use_namespaces:
        pytest.skip("several jobs of several hosts at once need network namespaces")
    loopback.plan(
        LateNames(job="four", seconds=2),
        HostDeath(job="host-dies", when=UP, noticed=False),
        HostDeath(job="cut-off", when=UP, noticed=False, silent=True),
    )
    workflow = Workflow(tmp_path / "work", RULES)
    code, output = workflow.run("--keep-going")
    assert code != 0
    assert workflow.text("two.txt") == '["algo-1", "algo-2"] algo-1\n', output
    assert workflow.text("four.txt") == "4\n", output
    described = {name: job.describe() for name, job in loopback.jobs.items()}
    reasons = {name.rsplit("-", 3)[0]: job.get("FailureReason", "") for name, job in described.items()}
    [two] = [name for name in loopback.jobs if name.startswith("two")]
    assert "two on algo-2" in loopback.logs.text(two)
    assert "algo-2: the command ended with exit status 9" in reasons["worker-fails"]
    assert "CUDA out of memory" in reasons["worker-fails"]
    assert "algo-2: the host was lost" in reasons["host-dies"] + described_log(loopback, "host-dies")
    assert "algo-2: the host was lost" in reasons["cut-off"] + described_log(loopback, "cut-off")
    assert "CUDA out of memory" in output


def described_log(loopback, label: str) -> str:
    """The log of the job whose name starts with LABEL."""
    [name] = [name for name in loopback.jobs if name.startswith(label)]
    return loopback.logs.text(name)


PLAIN = """
    rule pair:
        output: "pair.txt"
        resources: instance_count=2, worker_command="echo up on $SM_CURRENT_HOST_RANK; sleep 600"
        shell: "echo $SM_HOST_COUNT > {output}"
"""


class TestWithoutNamespaces:
    """Where nothing can be mounted (macOS, locked-down runners), hosts are processes with addresses of loopback."""

    @pytest.fixture
    def loopback_options(self, loopback_options):
        return loopback_options | {"use_namespaces": False, "hide": ()}

    def test_two_hosts_end_together(self, loopback, bucket, tmp_path):
        workflow = Workflow(tmp_path / "work", PLAIN)
        code, output = workflow.run("pair")
        assert code == 0, output
        assert workflow.text("pair.txt") == "2\n"
        [name] = loopback.jobs
        assert "up on 1" in loopback.logs.text(name)
