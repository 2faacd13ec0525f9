"""Workflows for tests: a folder with a Snakefile, run by the `snakemake` program against the loopback."""

import contextlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

BUCKET = "workflows"
PREFIX = f"s3://{BUCKET}/project"
ROLE = "arn:aws:iam::123456789012:role/training"
IMAGE = "registry.example/train:1"
LIMIT = 300  # seconds that a run of Snakemake may take before the test fails


class Workflow:
    """A workflow in FOLDER; `settings` become `sagemaker-…` keys of a profile, None removes one."""

    def __init__(self, folder: Path, rules: str):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Snakefile").write_text(textwrap.dedent(rules))

    def command(self, *options: str, **settings) -> list[str]:
        """Write a profile with SETTINGS and return the command that uses it."""
        given = {
            "role": ROLE,
            "s3-prefix": PREFIX,
            "image": IMAGE,
            "instance-type": "ml.m5.xlarge",
            "retry-wait": 0.2,
        } | {name.replace("_", "-"): value for name, value in settings.items()}
        profile = {"executor": "sagemaker", "jobs": 8, "seconds-between-status-checks": 1}
        profile |= {f"sagemaker-{name}": value for name, value in given.items() if value is not None}
        folder = self.folder.parent / "profile"
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(json.dumps(profile))  # JSON is YAML
        return [sys.executable, "-m", "snakemake", "--profile", str(folder), *options]

    def run(self, *options: str, **settings) -> tuple[int, str]:
        """Run to the end; return exit status and all output."""
        with self.running(*options, **settings) as controller:
            try:
                controller.wait(LIMIT)
            except subprocess.TimeoutExpired:
                raise TimeoutError(f"Snakemake did not end within {LIMIT} s: {self.log}") from None
        return controller.returncode, self.log

    @contextlib.contextmanager
    def running(self, *options: str, **settings):
        """Start without waiting; yields the process, killed at the end when it still runs."""
        with open(self.folder.parent / "controller.log", "w") as log:
            process = subprocess.Popen(
                self.command(*options, **settings), cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                process.wait()

    @property
    def log(self) -> str:
        """Output of the controller that `running` has started."""
        return (self.folder.parent / "controller.log").read_text()

    def records(self) -> list[dict]:
        """The records of time and cost at their default place."""
        folder = self.folder / ".snakemake/sagemaker/records"
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

    def text(self, name: str) -> str:
        """Content of a file of the workflow."""
        return (self.folder / name).read_text()


def wait_until(condition, what: str, seconds: float = 60) -> None:
    """Wait for a condition; raises TimeoutError with WHAT was awaited."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(what)
        time.sleep(0.05)


def make_bucket(aws) -> None:
    """Make the bucket that all workflows of the tests use."""
    aws.client("s3").create_bucket(Bucket=BUCKET)
