"""What `make watch` takes for running, failed and what it costs, from the files that launchers and executors leave."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.watch.failures import failures
from pipeline.watch.outlook import Outlook
from pipeline.watch.running import SILENT, launches, training_jobs
from pipeline.watch.stage_log import MOST_POINTS, Curve
from pipeline.watch.state import Watcher

IDENTITY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Outlook, "refresh", lambda self, running: None)
    Path("logs").mkdir()
    return tmp_path


@pytest.fixture
def launcher() -> Iterator[int]:
    """A process that looks like a launcher."""
    command = [sys.executable, "-c", "print(flush=True); input()", "scripts/launch.py"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()  # before, its command line may still be that of the process it was forked from
    yield process.pid
    process.communicate(b"\n")


def hold(stage: str, process: int, host: str = platform.node(), started: float = 0.0, log: str = "") -> None:
    """Leave what a launcher has in its work folder, and a log."""
    folder = Path(f".heirloom/work/{stage}-{IDENTITY}-w2")
    folder.mkdir(parents=True)
    (folder / "launcher.host").write_text(host)
    (folder / "launcher.pid").write_text(str(process))
    Path(f"logs/{stage}.log").write_text(log)
    began = started or time.time() - 60
    os.utime(folder / "launcher.pid", (began, began))


def test_a_stage_runs_while_its_launcher_does(launcher: int) -> None:
    hold("train-x", launcher)
    hold("train-killed", 2**22 + 1)  # Linux gives no such number
    hold("train-reused", os.getpid())  # the number is that of another program now
    Path(".heirloom/work/notes").mkdir()
    assert [(launch.stage, launch.host) for launch in launches()] == [("train-x", None)]


def test_a_stage_on_another_node_runs_until_its_log_says_otherwise_or_nothing_for_an_hour() -> None:
    hold("train-x", 1, "node7", log="step 1/2  loss 1.0\n")
    hold("train-failed", 1, "node7", log="train-failed failed: no memory\n")
    hold("train-lost", 1, "node8", started=time.time() - 2 * SILENT)
    os.utime("logs/train-lost.log", (time.time() - 1.5 * SILENT,) * 2)
    assert [(launch.stage, launch.host) for launch in launches()] == [("train-x", "node7")]


def test_a_job_on_sagemaker_is_one_whose_end_the_executor_has_neither_seen_nor_asked_for() -> None:
    folder = Path(".snakemake/sagemaker/open")
    folder.mkdir(parents=True)
    for name in ("train-my-sft", "train-a-run-with-quite-a-long-na", "evaluate-odd"):
        (folder / f"{name}-89abcdef-0123456789ab-012345").write_text("{}")
    (folder / "notes.txt").write_text("")
    (folder / "train-stopped-89abcdef-0123456789ab-012345").write_text('{"key": "", "stopping": true}')
    found = training_jobs(
        ["train-my.sft", "train-a-run-with-quite-a-long-name-1", "train-a-run-with-quite-a-long-name-2"]
    )
    assert {job.stage for job in found} == {"train-my.sft", "train-a-run-with-quite-a-long-na", "evaluate-odd"}


def test_cost_so_far_is_of_machines_that_are_rented_and_priced(launcher: int) -> None:
    hold("train-here", launcher, started=time.time() - 1800)
    hold("train-node", 1, "node7", started=time.time() - 1800, log="answers 1/4 on rank 0 of 2  1,000 tokens/s\n")
    folder = Path(".snakemake/sagemaker/open")
    folder.mkdir(parents=True)
    (folder / "train-away-89abcdef-0123456789ab-012345").write_text("{}")
    Path(".heirloom/costs").mkdir()
    attempt = {"billable_seconds": 3600, "instance_count": 1, "created": "2020-01-01T00:00:00", "cost_usd": 2.5}
    Path(".heirloom/costs/train-old.json").write_text(json.dumps({"attempts": [attempt]}))
    watcher = Watcher()
    stages = ("train-here", "train-node", "train-away")
    watcher.outlook.known = {
        "to_do": [{"stage": name, "action": "to run", "reasons": []} for name in stages],
        "usd_an_hour": dict.fromkeys(stages, 10.0),
    }
    state = watcher.state()
    assert {row["stage"]: row["cost"] for row in state["running"]} == {"train-here": None, "train-node": "$5.00 so far"}
    assert [row["cost"] for row in state["jobs"]] == ["at most $0.00 so far, on demand"]
    assert state["billed"] == "$2.50"
    assert state["running"][-1]["curves"] == {"tokens/s": [[1], [1000.0]]}
    assert state["waiting"]["all"] == state["failed"]["all"] == 0


def test_a_failure_is_of_the_last_execution_or_of_the_job_before_it_began() -> None:
    records, jobs = Path(".heirloom/records"), Path(".heirloom/jobs")
    records.mkdir(parents=True)
    jobs.mkdir()
    for stage, code in (("train-bad", 1), ("train-good", 0), ("train-odd", 137)):
        text = {"started": "2026-01-02T03:04:05Z", "seconds": 5, "exit_code": code}
        (records / f"{stage}.json").write_text(json.dumps(text))
    Path("logs/train-bad.log").write_text("ValueError: not this\ntrain-bad failed: the loss is\x1b[1m nan\n")
    Path("logs/train-good.log").write_text("error: it was warned, and went on\n")
    (jobs / "train-early.txt").write_text("error: data/processed/x is missing: run `snakemake`\n")
    (jobs / "train-waits.txt").write_text("train-waits: started\n")
    found = failures(["train-bad", "train-good", "train-odd", "train-early", "train-waits", "train-new"])
    assert {failure.stage: failure.sentence for failure in found} == {
        "train-bad": "the loss is\\x1b[1m nan",
        "train-odd": "it did not say why",
        "train-early": "data/processed/x is missing: run `snakemake`",
    }


def test_a_long_curve_is_thinned_out_and_one_that_begins_anew_is_another() -> None:
    curve = Curve()
    for step in range(1, 10 * MOST_POINTS):
        curve.add(step, float(step))
    assert len(curve.steps) <= MOST_POINTS
    assert (curve.steps[0], curve.steps[-1]) == (1, 10 * MOST_POINTS - 1)
    assert curve.steps == sorted(curve.steps) and curve.values == [float(step) for step in curve.steps]
    curve.add(1, 5.0)
    assert (curve.steps, curve.values) == ([1], [5.0])
