"""Which stages run: here, on nodes of a cluster that share this folder, and as jobs on SageMaker."""

import os
import platform
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from heirloom.launcher.work import HOST_FILE, LOCK_FILE
from heirloom.report.execution_records import read_record
from pipeline.paths import WORK

WORK_FOLDER = re.compile(r"(?P<stage>.+)-[0-9a-f]{16}-w\d+")
"""As heirloom.launcher.work calls it: stage, identity, number of ranks."""
LOGS = Path("logs")
OPEN_JOBS = Path(".snakemake/sagemaker/open")
"""Where the executor plugin has a file for each training job whose end it has not seen, JSON: it may be stopping."""
JOB_NAME = re.compile(r"(?P<label>.+)-[0-9a-f]{8}-[0-9a-f]{12}-[0-9a-f]{6}")
LONGEST_LABEL = 32
"""Characters of a stage's name in that of its training job."""
SILENT = 3600.0
"""Seconds without a word after which a launch on another machine counts as lost: its process cannot be looked at."""


@dataclass(frozen=True)
class Launch:
    """A stage whose launcher runs; `host` is None on this machine, `started` is as time.time()."""

    stage: str
    host: str | None
    started: float

    @property
    def log(self) -> Path:
        return log_of(self.stage)


@dataclass(frozen=True)
class TrainingJob:
    """A job on SageMaker whose end was not seen yet and that nobody has stopped; its log comes back when it ends."""

    stage: str
    name: str
    started: float


def log_of(stage: str) -> Path:
    """Return the file with the output of a stage."""
    return LOGS / f"{stage}.log"


def launches() -> list[Launch]:
    """Return the stages whose launcher runs here or on another node, the oldest first."""
    found: dict[str, Launch] = {}
    for folder in WORK.glob("*"):
        launch = launch_in(folder)
        if launch and (launch.stage not in found or launch.started > found[launch.stage].started):
            found[launch.stage] = launch
    return sorted(found.values(), key=lambda launch: launch.started)


def launch_in(folder: Path) -> Launch | None:
    """Return the launch that holds a work folder; None for one that an interrupted stage has left.

    The lock in it is not tried: a launcher that begins at that moment would find it held.
    """
    name, holder = WORK_FOLDER.fullmatch(folder.name), folder / LOCK_FILE
    if name is None:
        return None
    try:
        process, started = int(holder.read_text(encoding="utf-8")), holder.stat().st_mtime
        host = (folder / HOST_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    if host == platform.node():
        return Launch(name["stage"], None, started) if is_launcher(process) else None
    launch = Launch(name["stage"], host, started)
    return launch if is_heard(launch) else None


def is_launcher(process: int) -> bool:
    """Tell whether a process of this machine is a launcher; where there is no /proc, whether it is there at all."""
    if Path("/proc/self/cmdline").exists():
        try:
            return b"launch.py" in Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_heard(launch: Launch) -> bool:
    """Tell by its log whether a stage on another machine still runs."""
    try:
        last = max(launch.started, launch.log.stat().st_mtime)
        with launch.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().splitlines()
    except OSError:
        last, lines = launch.started, []
    has_failed = bool(lines) and lines[-1].startswith(f"{launch.stage} failed: ".encode())
    return time.time() - last < SILENT and not (has_failed and last > launch.started)


def training_jobs(stages: Iterable[str]) -> list[TrainingJob]:
    """Return the jobs on SageMaker that were submitted here and have not been seen to end, the oldest first.

    Their names hold the beginning of a stage's: one of `stages` where that is clear.
    """
    by_label: dict[str, list[str]] = {}
    for stage in stages:
        label = re.sub(r"[^a-zA-Z0-9]+", "-", stage)[:LONGEST_LABEL].strip("-")
        by_label.setdefault(label, []).append(stage)
    found = []
    for file in OPEN_JOBS.glob("*"):
        try:
            started = file.stat().st_mtime
        except OSError:  # its end was seen at this moment
            continue
        if (read_record(file) or {}).get("stopping"):
            continue
        if match := JOB_NAME.fullmatch(file.name):
            candidates = by_label.get(match["label"], [])
            found.append(TrainingJob(candidates[0] if len(candidates) == 1 else match["label"], file.name, started))
    return sorted(found, key=lambda job: job.started)
