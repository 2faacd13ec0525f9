"""Nothing is left behind: no process, mount, interface or folder, also when the server's owner was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import psutil
import pytest

from loopback import LoopbackSageMaker
from loopback.examples import request

# a container whose processes leave their group, their parent and their terminal behind, and ignore SIGTERM
CLINGING = "trap '' TERM; setsid sleep {token} & (setsid sleep {token} &); echo clinging; sleep {token}"
OWNER = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import boto3
from loopback import LoopbackSageMaker
from loopback.examples import request

server = LoopbackSageMaker(use_namespaces=True if sys.argv[2] == "True" else False).__enter__()
client = boto3.client("sagemaker", endpoint_url=server.endpoint, region_name="us-east-1")
resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1}
client.create_training_job(**request("left", "sh", "-c", sys.argv[3], ResourceConfig=resources))
server.wait_for_line("left", "clinging\\nclinging")
print(server.root, flush=True)
print(os.fork() or time.sleep(600), flush=True)  # a child that keeps every pipe of its parent open
time.sleep(600)
"""


@pytest.fixture
def token() -> str:
    """Seconds to sleep that no other process sleeps: how a test finds its processes."""
    return f"{60_000 + os.getpid() % 10_000}.{time.time_ns() % 1_000_000_000:09d}"


def processes_with(token: str) -> list[psutil.Process]:
    """The `sleep TOKEN` processes of this machine, whatever namespace they are in."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline() == ["sleep", token]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for_processes(token: str, count: int) -> None:
    until = time.monotonic() + 20
    while len(processes_with(token)) != count:
        assert time.monotonic() < until, processes_with(token)
        time.sleep(0.02)


def what_is_left(token: str, root: Path) -> list:
    """Processes of the jobs and of the loopback itself, and the folder."""
    own = [p for p in psutil.process_iter(["cmdline"]) if str(root) in " ".join(p.info["cmdline"] or [])]
    return processes_with(token) + own + [root] * root.exists()


def mounts() -> str:
    mounted = Path("/proc/self/mountinfo")
    return mounted.read_text() if mounted.exists() else ""


@pytest.mark.parametrize("use_namespaces", [None, False])
def test_closing_a_server_ends_its_running_jobs(aws, token, use_namespaces):
    with LoopbackSageMaker(use_namespaces=use_namespaces) as server:
        client = boto3.client("sagemaker", endpoint_url=server.endpoint)
        client.create_training_job(**request("clings", "sh", "-c", CLINGING.format(token=token)))
        client.create_training_job(**request("done", "sh", "-c", f"setsid sleep {token} & echo done"))
        server.wait("done")
        server.wait_for_line("clings", "clinging")
        wait_for_processes(token, 3)  # those of the job that is over are gone
        assert server.root.is_dir()
    assert not what_is_left(token, server.root)
    assert str(server.root) not in mounts()


def test_a_host_that_can_not_be_made_fails_the_job_at_once(aws):
    with LoopbackSageMaker(container_env={"NO_PORT": "http://127.0.0.1:70000"}) as server:
        if not server.use_namespaces:
            pytest.skip("this machine allows no namespaces")
        client = boto3.client("sagemaker", endpoint_url=server.endpoint)
        resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1}
        client.create_training_job(**request("unmade", "sleep", "60", ResourceConfig=resources))
        assert server.wait("unmade", 20)["FailureReason"].startswith("InternalServerError: the loopback failed")
        assert len(server.problems) == 1
        assert "OverflowError" in server.problems[0]


@pytest.mark.parametrize("use_namespaces", [None, False])
def test_a_killed_owner_leaves_nothing_even_if_a_child_holds_its_pipes(aws, token, use_namespaces, tmp_path):
    in_namespaces = LoopbackSageMaker(use_namespaces=use_namespaces).use_namespaces
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    command = [
        sys.executable,
        str(script),
        str(Path(__file__).parent),
        str(in_namespaces),
        CLINGING.format(token=token),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            root = Path(owner.stdout.readline().strip())
            assert root.is_dir()
            child = psutil.Process(int(owner.stdout.readline()))
            wait_for_processes(token, 6)
        finally:
            os.kill(owner.pid, signal.SIGKILL)
    assert child.is_running()
    until = time.monotonic() + 20
    while what_is_left(token, root):
        assert time.monotonic() < until, what_is_left(token, root)
        time.sleep(0.05)
    assert str(root) not in mounts()
    child.kill()
