"""Which stages failed when they were executed last, each with its one sentence."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from heirloom.errors import plain
from heirloom.report.execution_records import read_record
from pipeline.paths import JOB_OUTPUT_FOLDER, RECORDS
from pipeline.watch.logger_plugin import cause
from pipeline.watch.running import log_of
from pipeline.watch.stage_log import last_lines_of


@dataclass(frozen=True)
class Failure:
    """`ended` is as time.time(), `log` the file to read on in, `lines` its end."""

    stage: str
    ended: float
    sentence: str
    log: Path
    lines: tuple[str, ...]


def failures(stages: Iterable[str]) -> list[Failure]:
    """Return those of `stages`, which are to be done and do not run, that failed, the last one first."""
    found = [failure for stage in stages if (failure := failure_of(stage))]
    return sorted(found, key=lambda failure: failure.ended, reverse=True)


def failure_of(stage: str) -> Failure | None:
    """Return why a stage failed; None for one that never began, or ended well."""
    files = RECORDS / f"{stage}.json", log_of(stage), JOB_OUTPUT_FOLDER / f"{stage}.txt"
    return told_by(stage, *((file, changed(file)) for file in files))


@functools.lru_cache(maxsize=4096)
def told_by(stage: str, *files: tuple[Path, float]) -> Failure | None:
    """Return what record, log and output of the job tell of a failure; they are read again when they have changed.

    An execution's record says whether it failed. Before one begins, DVC or the workflow may have, which is told in what
    the job wrote in the last session.
    """
    (record_file, _), (log, logged), (output, written) = files
    record = read_record(record_file)
    failed = record is not None and record.get("exit_code") != 0
    if record is not None and not failed and written <= logged:
        return None
    sentence = cause(stage, [log, output] if failed else [output])
    if sentence is None and not failed:
        return None
    place, at = (log, logged) if failed and logged else (output, written)
    said = plain(sentence or "it did not say why")
    return Failure(stage, at or ended(record), said, place, tuple(last_lines_of(place)))


def changed(file: Path) -> float:
    """Return when a file was written to last, 0 for one that is not there."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def ended(record: dict) -> float:
    """Return when an execution ended, 0 where its record has another form."""
    try:
        return datetime.fromisoformat(record["started"]).timestamp() + float(record["seconds"])
    except (KeyError, TypeError, ValueError):
        return 0.0
