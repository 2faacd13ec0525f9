"""The executor: Snakemake's jobs become flights, flights become training jobs."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.utils import format_cli_arg

from . import archive, cloudwatch, costs, jobfile
from .alternatives import Alternatives
from .collection import ResultsError, UnreachableResultsError, collect, require_success
from .container.failure import shown
from .flights import Flight, Flights
from .journal import Journal, Orphans
from .names import job_label, key_part
from .objects import ObjectStore
from .outcomes import ENDED, Meaning, of_end
from .polling import Poller
from .preflight import Preflight, check_jobs, check_settings
from .request import check_request, job_environment, training_job_request
from .resources import read_resources
from .secrets import LeakGuard, PlainTextSecretError
from .submission import SubmissionError, Submitter
from .transfer import UnsafePathError, relative_path

_STOP_TRIES, _STOP_PAUSE = 4, 1.0
_SLOWEST_POLL = 300  # seconds


class Executor(RemoteExecutor):
    """Runs jobs as SageMaker training jobs."""

    def __post_init__(self):
        settings = self.executor_settings
        session = boto3.Session(region_name=settings.region or None)
        self._region = session.region_name
        check_settings(settings, self._region)
        self._prices = costs.read_prices(settings.prices)
        # Adaptive: botocore slows down by itself when AWS throttles.
        config = Config(retries={"mode": "adaptive", "max_attempts": 8})
        endpoint = settings.endpoint_url or None
        self._sagemaker = session.client("sagemaker", endpoint_url=endpoint, config=config)
        self._logs = session.client("logs", endpoint_url=settings.logs_endpoint_url or endpoint, config=config)
        s3 = session.client("s3", config=config)
        self._store = ObjectStore(s3, settings.s3_prefix, settings.kms_key)
        self._guard = LeakGuard.of_environment(os.environ, _credentials(session))
        try:
            self._environment = job_environment(settings, self.envvars(), self._guard)
        except PlainTextSecretError as error:
            raise WorkflowError(str(error)) from None
        remote = [job for job in self.dag.needrun_jobs() if not job.is_local]
        resources = check_jobs(remote, settings)
        if not settings.skip_preflight:
            Preflight(session, self.logger).check(settings, resources, s3)
        forget_unused_storage(self.workflow)
        self._root = Path.cwd()
        self._own_folder = Path(self.workflow.persistence.path) / "sagemaker"
        self._journal = Journal(self._own_folder / "open")
        self._flights = Flights()
        self._alternatives = Alternatives(self._store, settings.capacity_wait, self.logger)
        self._submitter = Submitter(
            self._sagemaker, settings, self._journal, self._flights, self.logger, self._alternatives
        )
        self._poller = Poller(self._sagemaker, settings.s3_prefix, self.logger)
        self._orphans = Orphans(self._sagemaker, settings.s3_prefix, self._journal, self.logger)
        self._sources = None
        self._cancelled = False

    def run_jobs(self, jobs):
        """Run jobs; from the first on, SIGTERM ends like Ctrl-C (Snakemake itself would wait for them, for days)."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _interrupt)
        super().run_jobs(jobs)

    def run_job(self, job):
        """Submit a job, or adopt the training job that a crashed controller has left for it."""
        info = SubmittedJobInfo(job=job, aux={})
        try:
            flight = self._flight(job)
            info.aux["flight"] = flight
            self._flights.add(flight)
            if not self._adopt(flight):
                self._submitter.submit(flight)
        except (WorkflowError, PlainTextSecretError, UnsafePathError, SubmissionError) as error:
            self._fail(info, str(error))
            return
        except (BotoCoreError, ClientError) as error:
            self._fail(info, f"AWS refused what the job needs before its submission: {error}")
            return
        info.external_jobid = flight.training_job
        self.report_job_submission(info)

    def _flight(self, job) -> Flight:
        settings = self.executor_settings
        resources = read_resources(job, settings)
        worker_command = resources.worker_command and job.format_wildcards(resources.worker_command)
        content = jobfile.describe_job(
            job,
            self._command(job),
            self._source_archive(),
            worker_command if resources.instance_count > 1 else None,
            settings.host_timeout,
            resources.instance_count,
            self._root,
            self._store,
            self._guard,
        )
        key = resources.job_key or jobfile.identity(content)
        content["checkpoints"] = key_part(key) if resources.checkpoints else None
        data = jobfile.encode(content)
        self._guard.check(data, f"the job file of rule {job.name}")
        digest = self._store.put_bytes(data)
        request = training_job_request(
            resources, settings, self._environment, self._store, digest, job.name, key_part(key), self._region
        )
        check_request(request, job.name)
        self._guard.check(repr(request), f"the request of rule {job.name}")
        allowed = [job.format_wildcards(path) for path in resources.return_files]
        may_return = [*content["results"], *content["logs"], *(relative_path(path, self._root) for path in allowed)]
        return Flight(job, job_label(job), key, resources, request, content["results"], may_return)

    def _command(self, job) -> str:
        """Return the shell command of a job; it starts in the folder that holds the sources, whatever `--directory`."""
        directory = format_cli_arg("--directory", self.workflow.overwrite_workdir)
        command = self.format_job_exec(job)
        return command.replace(directory, "") if self.workflow.overwrite_workdir else command

    def _source_archive(self) -> str:
        """Return the digest of the source archive, which is made and stored once an invocation."""
        if self._sources is None:
            products = {str(file) for job in self.dag.jobs for file in [*job.output, *job.log]}
            new, left_out = archive.new_sources(self._root, products)
            if left_out:
                self.logger.warning(f"Not sent to jobs, because they look private or are large: {', '.join(left_out)}")
            files = {*self.dag.get_sources(), *new} - set(left_out)
            self._sources = self._store.put_bytes(archive.source_archive(files, self._root, self._guard))
        return self._sources

    def _adopt(self, flight: Flight) -> bool:
        found = self._orphans.take(flight.key)
        if found is None:
            return False
        flight.training_job, flight.created, flight.submitted = found["TrainingJobName"], found["CreationTime"], True
        self._journal.open(flight.training_job, flight.key)
        self.logger.info(f"Adopted training job {flight.training_job}, which was started for the same work before.")
        return True

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Submit what waits, ask for the state of all jobs at once, and report those that have ended."""
        if not active_jobs:
            return
        infos = {id(info.aux["flight"]): info for info in active_jobs}
        hopeless = {id(flight): error for flight, error in self._submitter.submit_waiting()}
        async with self.status_rate_limiter:
            states = self._poller.states([flight for flight in self._flights_of(infos) if flight.submitted])
        self._set_pace()
        for number, info in infos.items():
            if self._cancelled:
                yield info
                continue
            try:
                if number in hopeless:
                    self._fail(info, str(hopeless[number]))
                elif not self._has_ended(info, states):
                    info.external_jobid = info.aux["flight"].training_job
                    yield info
            except UnreachableResultsError as error:
                self._fail(info, str(error), finished=False)
            except (ResultsError, SubmissionError, LookupError) as error:
                self._fail(info, str(error))
            except Exception as error:  # noqa: BLE001 - an error here would leave Snakemake waiting for ever
                self._fail(info, f"{type(error).__name__}: {error}")

    def _flights_of(self, infos: dict) -> list[Flight]:
        return [info.aux["flight"] for info in infos.values()]

    def _set_pace(self) -> None:
        """Ask more rarely while SageMaker does not answer."""
        usual = self.workflow.remote_execution_settings.seconds_between_status_checks
        slower = min(max(usual, 1) * 2**self._poller.failures, _SLOWEST_POLL)
        self.next_seconds_between_status_checks = slower if self._poller.failures else usual

    def _has_ended(self, info: SubmittedJobInfo, states: dict) -> bool:
        """Report the end of a job; False while it goes on."""
        flight = info.aux["flight"]
        if not flight.submitted:
            return False
        state = states.get(flight.training_job)
        if state and state != flight.state:
            flight.state = state
            self.logger.info(f"Training job {flight.training_job}: {' / '.join(dict.fromkeys(filter(None, state)))}")
        if not (state and state[0] in ENDED) and not self._poller.is_overdue(flight):
            if state:
                self._look_for_other_machines(flight, state[1])
            return False
        description = self._poller.description(flight)
        if description is None or description["TrainingJobStatus"] not in ENDED:
            flight.unseen = 0 if description else flight.unseen
            return False
        flight.attempts.append(costs.attempt_record(description, self._prices))
        self._write_record(flight)
        meaning, text = of_end(description)
        if flight.replaced and description["TrainingJobStatus"] == "Stopped":
            meaning, text = Meaning.CAPACITY, f"no {flight.instance_type} came, and the training job was stopped"
        flight.replaced = False
        if meaning in (Meaning.CAPACITY, Meaning.PLATFORM):
            self._journal.close(flight.training_job)
            self._submitter.again(flight, meaning, text)
            return False
        self._submitter.slot_freed(flight.kind)
        result = collect(self._store, flight.training_job, self._root, flight.may_return)
        if meaning is Meaning.SUCCESS:
            require_success(result, flight.training_job)
            self._forget(flight)
            self.report_job_success(info)
        else:
            self._fail(info, self._explanation(flight, text))
        return True

    def _look_for_other_machines(self, flight: Flight, secondary_status: str) -> None:
        """Stop a training job that has waited for one type of machines long enough and may have another."""
        self._alternatives.note_state(flight, secondary_status)
        if not flight.replaced and self._alternatives.is_due(flight):
            flight.replaced = True
            self._stop(flight)

    def _explanation(self, flight: Flight, text: str) -> str:
        """Return what a person needs to see why a job failed: the reason, the last lines of the log, its address."""
        lines = cloudwatch.tail(self._logs, flight.training_job, self.executor_settings.log_lines)
        return "\n".join(
            [
                *map(shown, (f"training job {flight.training_job}: {text}", *lines)),
                f"Log: {cloudwatch.console_url(self._region, flight.training_job)}",
                "",
            ]
        )

    def _fail(self, info: SubmittedJobInfo, text: str, finished: bool = True) -> None:
        """Report an error; with FINISHED false the next invocation finds the training job again."""
        flight = info.aux.get("flight")
        if flight:
            info.external_jobid = flight.training_job
            self._forget(flight, finished)
        self.report_job_error(info, msg=f"{text}\n")

    def _forget(self, flight: Flight, finished: bool = True) -> None:
        self._flights.remove(flight)
        if flight.training_job and finished:
            self._journal.close(flight.training_job)

    def _write_record(self, flight: Flight) -> None:
        given = flight.resources.record
        default = self._own_folder / "records" / f"{flight.label}-{key_part(flight.key)}.json"
        path = Path(flight.job.format_wildcards(given)) if given else default
        costs.write_record(path, flight.job.name, flight.key, flight.attempts)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]):
        """Stop all training jobs, also those that Snakemake's list lacks while their state is asked for."""
        self._cancelled = True
        with _signals_ignored():  # a second Ctrl-C would leave jobs running, and billed
            self._submitter.stop()
            for flight in self._flights.all():
                if flight.submitted or flight.creating:
                    self._stop(flight)

    def _stop(self, flight: Flight) -> None:
        for attempt in range(_STOP_TRIES):
            try:
                self._sagemaker.stop_training_job(TrainingJobName=flight.training_job)
            except Exception as error:  # noqa: BLE001 - the others have to be stopped in any case
                # A request that Ctrl-C has cut off may still have reached AWS, and the job appears a moment later.
                if "not found" in str(error).lower() and attempt + 1 < _STOP_TRIES:
                    time.sleep(_STOP_PAUSE)
                    continue
                if flight.submitted:
                    self.logger.warning(f"Training job {flight.training_job} could not be stopped: {error}")
                return
            self._journal.stopping(flight.training_job, flight.key)
            self.logger.info(f"Stopped training job {flight.training_job}.")
            return


def forget_unused_storage(workflow) -> None:
    """Forget the settings of storage plugins that are installed here but that the workflow does not use.

    Snakemake hands the settings of all of them to every job, which fails when its image lacks one.
    """
    used = workflow.storage_registry._storages
    settings = workflow.storage_provider_settings or {}
    workflow.storage_provider_settings = {name: settings[name] for name in settings if name in used}


def _credentials(session) -> dict[str, str]:
    found = session.get_credentials()
    if found is None:
        return {}
    frozen = found.get_frozen_credentials()
    return {"AWS_SECRET_ACCESS_KEY": frozen.secret_key or "", "AWS_SESSION_TOKEN": frozen.token or ""}


def _interrupt(number, frame):
    raise KeyboardInterrupt


@contextlib.contextmanager
def _signals_ignored():
    """Ignore SIGINT and SIGTERM for a while, where that is possible (the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
