"""The plugin: Snakemake's events in, lines for people out."""

import os
import sys
import threading
import time
from logging import ERROR, INFO, WARNING, LogRecord
from pathlib import Path

import snakemake
from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_heirloom.job import Failure, Job, failure_of, job_of
from snakemake_logger_plugin_heirloom.screens import Screen, open_screen
from snakemake_logger_plugin_heirloom.settings import LogHandlerSettings
from snakemake_logger_plugin_heirloom.speech import INDENT, duration, line

SNAKEMAKE = f"{Path(snakemake.__file__).parent}{os.sep}"
STOPPING = "Terminating processes on user request"
ENDING = "Will exit after finishing currently running jobs"
SECONDS_BETWEEN_LOOKS = 0.5
"""At the log files."""
LEFT_OUT = (
    "RuleException:",  # that a job's command failed: the job says why
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete successfully",
)
"""Errors that Snakemake tells after a job's own."""


class LogHandler(LogHandlerBase):
    """One line a job as it starts and ends; the causes of failures last.

    Of what Snakemake itself says, warnings and errors are shown, and that there is nothing to do; of what others say by
    its logger, such as executors, everything. Verbosely Snakemake speaks for itself, and only the causes come after it.
    """

    def __post_init__(self) -> None:
        self._settings = self.settings or LogHandlerSettings()
        common = self.common_settings
        self._quiet = set(common.quiet or ())
        self._stream = sys.stdout if common.stdout else sys.stderr
        self._own: ColorizingTextHandler | None = None
        if common.verbose or common.debug_dag:
            self._own = snakemakes_own(common, self._stream)
        self._jobs: dict[int, Job] = {}
        self._failures: dict[str, Failure] = {}
        self._held: list[str] = []
        """Errors told while jobs ran: whose they are is said later."""
        self._done = self._total = 0
        self._stopping = False
        self._closed = False
        self._screen: Screen = open_screen(self._stream, common.nocolor, lambda: list(self._jobs.values()))
        self._follower: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: LogRecord) -> None:
        """Show what a record says to people; called with the handler's lock held, so one at a time."""
        try:
            if self._own:
                self._own.handle(record)
                self._note(record)
                return
            answer = self._EVENTS.get(getattr(record, "event", None))
            (answer or LogHandler._message)(self, record)
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)

    def _note(self, record: LogRecord) -> None:
        """Where Snakemake's own words are shown: know of each job that fails why, as those words end with traces."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO and record.output and not self.common_settings.dryrun:
            job = self._jobs[record.jobid] = job_of(record, self._settings.job_output)
            self._failures.pop(job.name, None)
        elif event == LogEvent.JOB_FINISHED:
            self._jobs.pop(record.job_id, None)
        elif event == LogEvent.JOB_ERROR and (job := self._jobs.pop(record.jobid, None)) and not self._stopping:
            self._failures[job.name] = failure_of(job, record, None)
        elif str(record.msg or "").startswith(STOPPING):
            self._stopping = True

    # ---- events of Snakemake's ----

    def _run_info(self, record: LogRecord) -> None:
        stats = record.stats
        self._total = stats.get("total", 0) - sum(number for name, number in stats.items() if is_target(name))

    def _job_info(self, record: LogRecord) -> None:
        if not record.output:  # a rule that only names its targets
            return
        if self.common_settings.dryrun:
            self._show_command(job_of(record, None).name, record)
            return
        job = self._jobs[record.jobid] = job_of(record, self._settings.job_output)
        self._failures.pop(job.name, None)  # it is tried again
        self._say("started", job.name)
        self._show_command("", record)
        self._screen.run(self._shows_bars)
        self._follow()

    def _show_command(self, name: str, record: LogRecord) -> None:
        """Show what `--printshellcmds` asks for: in a dry-run under the job's name, with its resources."""
        if not self.common_settings.printshellcmds or not record.shellcmd:
            return
        resources = ", ".join(f"{key}={value}" for key, value in record.resources.items() if not key.startswith("_"))
        asked = [name, f"    resources: {resources}" if resources else ""] if name else []
        self._screen.text("\n".join([*filter(None, asked), record.shellcmd.strip("\n").rstrip()]))

    def _job_finished(self, record: LogRecord) -> None:
        job = self._jobs.pop(record.job_id, None)
        if job is None:
            return
        self._done += 1
        self._screen.run(self._shows_bars)
        counted = f"({self._done} of {self._total})" if self._total else ""
        self._say(job.outcome(), job.name, duration(job.seconds), counted, style="done")

    def _job_error(self, record: LogRecord) -> None:
        job = self._jobs.pop(record.jobid, None)
        if job is None:
            return
        self._screen.run(self._shows_bars)
        said, self._held = [text for text in self._held if not text.startswith(LEFT_OUT)], []
        if self._stopping:
            return
        self._failures[job.name] = failure_of(job, record, said[-1] if said else None)
        self._screen.line(line("failed", job.name, duration(job.seconds)), "failed")

    def _group_error(self, record: LogRecord) -> None:
        for info in record.job_error_info:
            self._screen.text(f"error: {info}", "error")

    def _nothing(self, record: LogRecord) -> None:
        pass

    def _message(self, record: LogRecord) -> None:
        """Answer what is no event of a job's."""
        text = str(record.msg or "").strip("\n")
        if record.levelno >= ERROR:
            self._error(text)
        elif text.startswith(STOPPING):
            self._stopping = True
            self._screen.text("stopping: running jobs may save their work first")
        elif text.startswith(ENDING):
            self._screen.text("stopping: no further job is started")
        elif record.levelno >= WARNING:
            self._screen.text(text if text.lower().startswith("warning") else f"warning: {text}", "warning")
        elif text == NOTHING_TO_BE_DONE_MSG:
            if Quietness.ALL not in self._quiet or self.common_settings.dryrun:
                self._screen.text("Nothing to be done.")
        elif record.levelno >= INFO and text and not record.pathname.startswith(SNAKEMAKE) and self._talks:
            self._screen.text("\n".join(INDENT + row for row in text.splitlines()), "note")

    def _error(self, text: str) -> None:
        if self._jobs or self._failures or self._stopping:
            self._held.append(text)
        elif text:
            self._screen.text(text, "error")

    _EVENTS = {
        LogEvent.RUN_INFO: _run_info,
        LogEvent.JOB_INFO: _job_info,
        LogEvent.JOB_FINISHED: _job_finished,
        LogEvent.JOB_ERROR: _job_error,
        LogEvent.GROUP_ERROR: _group_error,
        **dict.fromkeys(
            (
                LogEvent.WORKFLOW_STARTED, LogEvent.SHELLCMD, LogEvent.JOB_STARTED, LogEvent.GROUP_INFO,
                LogEvent.RESOURCES_INFO, LogEvent.DEBUG_DAG, LogEvent.PROGRESS, LogEvent.RULEGRAPH,
            ),
            _nothing,
        ),
    }  # fmt: skip

    # ---- lines ----

    @property
    def _talks(self) -> bool:
        return not self._quiet & {Quietness.RULES, Quietness.ALL}

    @property
    def _shows_bars(self) -> bool:
        return bool(self._jobs) and not self._quiet & {Quietness.PROGRESS, Quietness.ALL}

    def _say(self, word: str, name: str, *more: str, style: str = "") -> None:
        if self._talks:
            self._screen.line(line(word, name, *more), style)

    def _follow(self) -> None:
        """Let a thread read the log files of the running jobs."""
        if self._follower is None:
            self._follower = threading.Thread(target=self._look, daemon=True)
            self._follower.start()

    def _look(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            for job in list(self._jobs.values()):
                news = job.log is not None and job.log.follow()
                if news and not self._screen.live and time.monotonic() - job.told >= self._settings.interval:
                    job.told = time.monotonic()
                    self._tell_progress(job)

    def _tell_progress(self, job: Job) -> None:
        progress = job.log.progress
        if self._shows_bars and self._talks:
            left = "" if progress.left is None else f"{duration(progress.left)} left"
            self._screen.line(line("running", job.name, str(progress), left))

    def close(self) -> None:
        """End the output: what failed, and why."""
        if not self._closed:
            self._closed = True
            self._ended.set()
            self._screen.run(False)
            if self._own:
                self._say_what_failed()
            else:
                self._say_how_it_ended()
        super().close()

    def _say_how_it_ended(self) -> None:
        if self._stopping:
            of = f" of {self._total}" if self._total else ""
            self._screen.text(f"stopped: {self._done}{of} done; started again, it goes on from there")
            return
        rest = [text for text in self._held if text and not (self._failures and text.startswith(LEFT_OUT))]
        for text in rest:
            self._screen.text(text, "error")
        self._say_what_failed()

    def _say_what_failed(self) -> None:
        for failure in self._failures.values():
            where = f": {failure.place}" if failure.place else ""
            self._screen.text(f"{failure.name} failed after {duration(failure.seconds)}{where}", "failed")
            self._screen.text(f"error: {failure.sentence}", "failed")


def is_target(rule: str) -> bool:
    """Tell whether an entry of Snakemake's statistics is a rule that only names its targets: `all`, or `gate-RUN`."""
    return rule == "all" or rule.startswith("gate-")


def snakemakes_own(common, stream) -> ColorizingTextHandler:
    """Return the handler that Snakemake has without a plugin."""
    return ColorizingTextHandler(
        nocolor=common.nocolor,
        stream=stream,
        formatter=DefaultFormatter(common.quiet, common.show_failed_logs),
        filter=DefaultFilter(common.quiet, common.debug_dag, common.verbose, common.dryrun, common.printshellcmds),
    )
