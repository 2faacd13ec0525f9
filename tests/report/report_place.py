"""A project folder, and how the reports in it are made."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/create_report.py"
SECTIONS = "base,dataset,trainer,training,generation,evaluation,gates"


class Place:
    """A project folder, and the script to type in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, SCRIPT, *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def report_run(self, run: str, *, output: str | None = None, check: bool = True) -> subprocess.CompletedProcess:
        done = self.run(
            "--config", f"config/runs/{run}.yaml", "--sections", SECTIONS,
            "--ancestors", "config/runs/pre.yaml=base,dataset,trainer,deepspeed,training,generation,evaluation",
            "--training", f"metrics/training/{run}.json", "--losses", f"metrics/loss/{run}.csv",
            "--completions", f"metrics/completions/{run}.jsonl",
            "--data", "metrics/data/chats.json", "--evaluation", f"metrics/evaluation/{run}.json",
            "--harness", f"metrics/harness/{run}.json", "--samples", f"samples/{run}",
            "--against-evaluation", "sft-fast=metrics/evaluation/sft-fast.json",
            "--generations", f"generations/{run}", "--base-generations", "generations/pre",
            "--output", output or f"reports/{run}.html",
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done
