"""The entry point as a process on one host, without Snakemake in it and without the loopback around it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from running import BUCKET, PREFIX, wait_until
from snakemake_executor_plugin_sagemaker import jobfile
from snakemake_executor_plugin_sagemaker.archive import source_archive
from snakemake_executor_plugin_sagemaker.container import working_place
from snakemake_executor_plugin_sagemaker.objects import ObjectStore
from snakemake_executor_plugin_sagemaker.secrets import LeakGuard

SAVING = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(1)
    pathlib.Path("saved").write_text("yes")
    kept = pathlib.Path(sys.argv[1])
    kept.mkdir()
    (kept / "state").write_text("of the last step")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").touch()
time.sleep(60)
"""


class Host:
    """A host with an /opt/ml of its own that runs one command."""

    def __init__(self, aws, folder):
        self.ml = folder / "ml"
        (self.ml / "input/config").mkdir(parents=True)
        self.work = self.ml / "input/data/workflow"
        config = {"hosts": ["algo-1"], "current_host": "algo-1", "network_interface_name": "eth0"}
        (self.ml / "input/config/resourceconfig.json").write_text(json.dumps(config))
        self.store = ObjectStore(aws.client("s3"), PREFIX)
        (folder / "save.py").write_text(SAVING)
        self.sources = self.store.put_bytes(source_archive(["save.py"], folder, LeakGuard({})))

    def start(self, command: str, variables: dict | None = None, **changes) -> subprocess.Popen:
        content = {
            "format": jobfile.FORMAT,
            "command": command,
            "worker_command": None,
            "host_timeout": 30,
            "sources": self.sources,
            "inputs": [],
            "results": ["out/result.txt"],
            "logs": ["logs/job.log"],
        } | changes
        digest = self.store.put_bytes(jobfile.encode(content))
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake_executor_plugin_sagemaker.container", PREFIX, digest],
            env={**os.environ, "SM_ML_ROOT": str(self.ml), "TRAINING_JOB_NAME": "job", **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str, variables: dict | None = None, **changes) -> tuple[int, str]:
        process = self.start(command, variables, **changes)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def failure(self) -> str:
        return (self.ml / "output/failure").read_text()

    @property
    def result(self) -> dict:
        return json.loads(self.store.get_result("job"))


@pytest.fixture
def host(aws, bucket, tmp_path):
    return Host(aws, tmp_path)


def test_what_a_dying_shell_leaves_behind_is_waited_for(host, aws):
    """And the checkpoint that it writes after SIGTERM, which SageMaker copies no more, is on S3."""
    process = host.start(f"{sys.executable} save.py {host.ml}/checkpoints; true", checkpoints="key")
    wait_until((host.work / "ready").exists, "the program under the shell")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (host.work / "saved").read_text() == "yes"
    assert "exit status 143" in host.failure
    assert host.result["status"] == "failed", output
    assert aws.objects(BUCKET, "project/checkpoints/") == {"project/checkpoints/key/state": b"of the last step"}
    assert "[sagemaker] checkpoints: all 1 files (0.0 MB) are kept at s3://workflows/project/checkpoints/key" in output


def test_results_logs_and_listed_files_are_returned(host):
    code, output = host.run(
        "echo r > out/result.txt; echo l > logs/job.log; echo e > extra;"
        "echo extra > $SNAKEMAKE_SAGEMAKER_RETURN_FILES; echo $SM_CURRENT_HOST $SM_HOST_COUNT"
    )
    assert code == 0, output
    assert "algo-1 1" in output
    assert host.result["status"] == "succeeded"
    assert [entry["path"] for entry in host.result["files"]] == ["extra", "out/result.txt"]
    assert [entry["path"] for entry in host.result["logs"]] == ["logs/job.log"]
    assert not (host.ml / "output/failure").exists()


def test_the_error_that_a_command_knows_is_the_reason(host):
    code, _ = host.run(f"echo l > logs/job.log; echo rank 3: out of memory > {host.ml}/output/failure; exit 5")
    assert code == 1
    assert host.failure == host.result["error"] == "algo-1: rank 3: out of memory"
    assert host.result["files"] == []
    assert [entry["path"] for entry in host.result["logs"]] == ["logs/job.log"]


def test_a_reason_holds_no_secret(host, aws):
    aws.client("ssm").put_parameter(Name="/hub", Value="value-of-a-secret", Type="SecureString")
    code, output = host.run(
        f"echo $HF_TOKEN is wrong | tee {host.ml}/output/failure logs/job.log; exit 5", {"HF_TOKEN": "ssm:/hub"}
    )
    assert code == 1
    assert host.failure == "algo-1: [secret] is wrong"
    assert "value-of-a-secret" not in output
    [entry] = host.result["logs"]
    assert host.store.get_bytes(entry["sha256"]) == b"[secret] is wrong\n"


def test_the_secret_of_hosts_is_in_a_file_of_its_own_alone(host):
    """Neither in a variable, nor in what is printed or returned; a warm host forgets that of the job before."""
    secret = "5ec7e7" * 10
    show = "ls -l $SNAKEMAKE_SAGEMAKER_SECRET_FILE; cat $SNAKEMAKE_SAGEMAKER_SECRET_FILE | tee logs/job.log"
    code, output = host.run(f"{show}; env | grep -c {secret}; echo r > out/result.txt", secret=secret)
    assert code == 0 and "-rw------- " in output and secret not in output and "[secret]" in output
    assert "[secret]0\n" in output  # no variable holds it
    [entry] = host.result["logs"]
    assert host.store.get_bytes(entry["sha256"]) == b"[secret]"
    code, output = host.run(
        f"echo file:$SNAKEMAKE_SAGEMAKER_SECRET_FILE; ls {host.ml}/input/data; echo r > out/result.txt"
    )
    assert code == 0 and "file:\n" in output and "hosts-secret" not in output
    code, _ = host.run("cat $SNAKEMAKE_SAGEMAKER_SECRET_FILE > out/result.txt", secret=secret)
    assert code == 1 and "SNAKEMAKE_SAGEMAKER_SECRET_FILE" in host.failure and secret not in host.failure


def test_the_end_of_the_output_is_the_reason_otherwise(host):
    code, _ = host.run("seq 1000; echo loss is NaN; exit 5")
    assert code == 1
    assert host.failure.startswith("algo-1: the command ended with exit status 5\n")
    assert host.failure.endswith("1000\nloss is NaN")
    assert len(host.failure) <= 1024


@pytest.mark.parametrize(
    ("variables", "changes", "reason"),
    [
        ({"HF_TOKEN": "ssm:/no/such"}, {}, "ParameterNotFound"),
        ({}, {"format": 99}, "reads job files of format 3, this one has 99; install the same version of the plugin"),
        ({}, {"sources": "0" * 64}, "NoSuchKey"),
    ],
)
def test_a_job_that_cannot_start_says_why(host, variables, changes, reason):
    code, output = host.run("true", variables, **changes)
    assert code == 1, output
    assert reason in host.failure


def test_a_job_works_on_the_disk_with_the_most_room(tmp_path, monkeypatch):
    data, scratch = tmp_path / "input/data", tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(working_place.tempfile, "gettempdir", lambda: str(scratch))
    place, said = working_place.working_place(tmp_path)
    assert place == data and " GB free" in said and f"{scratch}: " not in said  # one disk
    monkeypatch.setattr(working_place, "_problem", lambda folder: "Read-only file system" if folder == data else None)
    place, said = working_place.working_place(tmp_path)
    assert place == scratch and f"{data}: Read-only file system; {scratch}: " in said
    monkeypatch.undo()
    assert working_place._filesystem(Path("/proc/self")) == "proc"
    shared = Path("/dev/shm")
    if shared.is_dir() and shared.stat().st_dev != tmp_path.stat().st_dev:
        monkeypatch.setattr(working_place.tempfile, "gettempdir", lambda: str(shared))
        place, said = working_place.working_place(tmp_path)
        assert place == data and "/dev/shm: " in said and said.endswith(" of memory")


def test_a_warm_host_starts_with_an_empty_folder(host):
    host.run("echo old > out/left-over")
    code, output = host.run("ls out; echo new > out/result.txt")
    assert code == 0, output
    assert "left-over" not in output
