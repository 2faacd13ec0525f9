"""`snakemake --profile slurm` in a clone of the demo, against the cluster of this machine."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from demo_clone import Demo
from loopback_cluster import Cluster


def poll_every(demo: Demo, seconds: int) -> None:
    """Let the profile ask for the state of jobs so often at first: here the controller need not be spared."""
    profile = demo.folder / "workflow" / "profiles" / "slurm" / "config.yaml"
    text = re.sub(
        r"(seconds-before-status-checks|seconds-between-status-checks): \d+", rf"\1: {seconds}", profile.read_text()
    )
    profile.write_text(text)


class OnCluster:
    """`snakemake --profile slurm` in a clone, in the background."""

    def __init__(self, demo: Demo, cluster: Cluster, *options: str) -> None:
        self.demo = demo
        path = f"{Path(sys.executable).parent}:{cluster.bin}:{os.environ['PATH']}"
        self.output = demo.folder.parent / "snakemake.out"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                ["snakemake", "--profile", "slurm", *options],
                cwd=demo.folder,
                env={**demo.environment, **cluster.environment, "PATH": path},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, condition, seconds: float = 600) -> None:
        """Return once the condition holds; fail when Snakemake ends before, or it takes too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.story()
            time.sleep(0.02)

    def end(self, seconds: float = 1500) -> int:
        """Return the exit code."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.story()) from None

    def story(self) -> str:
        """Return what everything has said, for the message of a test that fails."""
        logs = sorted((self.demo.folder / ".snakemake" / "slurm_logs").rglob("*.log"))
        return "\n".join([self.said()[-6000:], *(f"{log}:\n{log.read_text()[-3000:]}" for log in logs)])
