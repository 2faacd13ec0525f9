"""A job, as the plugin knows it."""

import time
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path

from snakemake_logger_plugin_heirloom.failure import cause, last_lines
from snakemake_logger_plugin_heirloom.progress import LogFollower

WORDS = {"restored": "restored", "up to date": "current"}
"""How a job that had nothing to execute says so (`NAME: up to date`) → the word that is shown."""


@dataclass
class Job:
    """`output` is the file with what it wrote to stdout and stderr, where there is one."""

    name: str
    log: LogFollower | None
    output: LogFollower | None
    started: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    """When a line about it was shown last."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def outcome(self) -> str:
        """Return how it ended, having ended well: `done`, or that nothing had to be executed."""
        for line in reversed(list(last_lines(self.output.path)) if self.output and self.output.begun else []):
            for said, word in WORDS.items():
                if line.startswith(f"{self.name}: {said}"):
                    return word
        return "done"

    def written(self, more: list[Path]) -> list[Path]:
        """Return the files that it has written, the fullest first; `more` are those that its executor names."""
        own = [log.path for log in (self.output, self.log) if log and log.begun]
        return own[:1] + [path for path in more if path.exists()] + own[1:]


@dataclass
class Failure:
    """`place`: where to read on; `sentence`: why."""

    name: str
    seconds: float
    place: str
    sentence: str


def job_of(record: LogRecord, job_output: str | None) -> Job:
    """Return the job of Snakemake's event JOB_INFO."""
    logs = [str(path).removesuffix(" (send to storage)") for path in record.log]
    wildcards = [str(value) for value in record.wildcards.values()]
    name = Path(logs[0]).stem if logs else "-".join([record.rule_name, *wildcards])
    output = Path(job_output, f"{name}.txt") if job_output else None
    return Job(name, LogFollower(Path(logs[0])) if logs else None, LogFollower(output) if output else None)


def failure_of(job: Job, record: LogRecord, said: str | None) -> Failure:
    """Return why a job failed; `record` is Snakemake's event JOB_ERROR, `said` the error that it told before.

    Where no line tells the cause, what the executor or Snakemake says does, else the last line that the job wrote.
    """
    own = {log.path for log in (job.log, job.output) if log}
    more = [path for path in map(Path, record.log) if path not in own]
    files = job.written(more)
    last = next((lines[-1] for lines in map(list, map(last_lines, files)) if lines), "it did not say why")
    sentence = cause(job.name, files) or record.rule_msg or said or last
    place = job.log.path if job.log and job.log.begun else next(iter(files), None)
    return Failure(job.name, job.seconds, str(place or ""), " ".join(str(sentence).split()))
