"""The demo's chain with few steps, in a clone: run here by `snakemake`, and by `snakemake --profile slurm`."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from demo_clone import Demo
from loopback_cluster import Cluster

STEPS = {"demo-pretrain": 40, "demo-sft": 40, "demo-dpo": 10}
RESOURCES = {
    "demo-pretrain": "{mem_mb: 3000, runtime: 15}",
    "demo-sft": "{nodes: 2, cpus_per_task: 1, mem_mb: 3000, runtime: 15, evaluation: {nodes: 1}, "
    "generation: {nodes: 1, slurm_partition: other}}",
    "demo-dpo": "{slurm_partition: other, slurm_account: lab, mem_mb: 3000, runtime: 15}",
}
"""Never identity: both clones have them, and the one that runs here ignores them."""


def create(folder: Path, home: Path, steps: dict[str, int]) -> Demo:
    """Return a clone in which nothing has run, whose trainings take so many steps and keep every fifth."""
    demo = Demo.create(folder, home)
    for run, count in steps.items():
        file = folder / "config" / "demo" / "runs" / f"{run}.yaml"
        text = re.sub(r"max_steps: \d+", f"max_steps: {count}", file.read_text())
        text = re.sub(r"save_steps: \d+", "save_steps: 5", text)
        file.write_text(f"{text}resources: {RESOURCES[run]}\n")
    demo.run("make", "clone-settings", f"VENV={sys.prefix}")
    demo.run(sys.executable, "workflow/pipeline", "write")
    demo.commit("fewer steps")
    return demo


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
        self.environment = {**demo.environment, **cluster.environment, "PATH": path}
        self.output = demo.folder.parent / "snakemake.out"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                ["snakemake", "--profile", "slurm", *options],
                cwd=demo.folder,
                env=self.environment,
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
