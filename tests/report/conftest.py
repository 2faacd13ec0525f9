"""The made-up project with its reports, made once by the script, and a browser."""

import subprocess
import sys
from pathlib import Path

import pytest
from browser import Browser, find_browser
from made_up_project import make_project

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/create_report.py"
SECTIONS = "base,dataset,trainer,training,generation,evaluation"


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
            "--data", "metrics/data/chats.json", "--evaluation", f"metrics/evaluation/{run}.json",
            "--generations", f"generations/{run}", "--base-generations", "generations/pre",
            "--output", output or f"reports/{run}.html",
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where reports/sft.html and reports/index.html have been made."""
    place = Place(make_project(tmp_path_factory.mktemp("report") / "project"))
    place.report_run("sft")
    done = place.run("--all")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return find_browser(tmp_path_factory.mktemp("browser"))
