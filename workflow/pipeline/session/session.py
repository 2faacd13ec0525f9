"""What the Snakefile asks for: the graph, the markers, and what is to be done."""

import atexit
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from snakemake.resources import Resources

from heirloom.errors import HeirloomError
from pipeline.code import bring_in_step
from pipeline.dvc_project import release_what_the_dead_hold, set_aside_damaged_lock
from pipeline.execution import CONTROLLER, JOB_OUTPUT, job_remote, push_once
from pipeline.graph import RESOURCES, Graph, Stage, dvcfile, job_resources, load_graph, shown
from pipeline.ledger import (
    NOTHING,
    Action,
    Ledger,
    WorkflowLock,
    dvc_lock,
    guards_in_step,
    listed,
    lockfile,
    markers,
    open_ledger,
    read_lock,
)
from pipeline.paths import JOBS_AWAY, LOCK_FILE, MARKERS, ROOT
from pipeline.plan import Cluster, keep_estimates, print_plan, print_quotation, quotation, refusals
from pipeline.rehearsal import advice, unrehearsed
from pipeline.session import sagemaker_submission as submitting
from pipeline.session.command_line import (
    SAGEMAKER,
    budgets_of,
    cluster_of,
    command_line,
    container_image,
    data_is_local,
    executor,
    gate_targets,
    kinds_here,
    only_gates,
    rehearsal_required,
    rehearse_instead,
    reject_unknown_targets,
    reject_unsupported,
    will_execute,
    workflow_settings,
)
from pipeline.session.gpus_here import share_out
from pipeline.session.memory_here import MEMORY, share_memory
from pipeline.session.packages_here import check_math_verify_here
from pipeline.session.sagemaker_submission import Submission, setting, setting_problems
from pipeline.session.terminal import open_terminal
from pipeline.session.vllm_here import check_vllm_here

AGAIN = "HEIRLOOM_AGAIN"
"""Environment variable of a session that an earlier one became."""
_lock = WorkflowLock()
"""Held until the process ends."""


class Session:
    """One Snakemake process. The main one compares and prepares; those that it starts only look things up."""

    def __init__(
        self,
        graph: Graph,
        folder: Path,
        workflow,
        ledger: Ledger | None = None,
        force: tuple[str, ...] = (),
        image: str | None = None,
        at_home: bool = False,
        away: bool = False,
        submission: Submission | None = None,
        gpus: Callable[[Stage], int] = lambda stage: 1,
        gates: tuple[str, ...] = (),
        memory: Callable[[Stage], int] = lambda stage: 0,
    ) -> None:
        """`at_home`: jobs run on this machine; `away`: on others, and now; `submission` is what SageMaker's get.

        `gpus` says how many units of the resource `accelerator` a stage takes, `memory` how many MB of main memory at
        home; `gates` are the stages `gate-RUN` that are targets by their names.
        """
        self.graph = graph
        self.folder = folder
        self.defaults = default_resources(workflow)
        self.ledger = ledger
        self.force = force
        self.image = image
        self.at_home = at_home
        self.away = away
        self.submission = submission
        self.gpus = gpus
        self.gates = gates
        self.memory = memory

    def artifact(self, path: str) -> str:
        """Return the marker that stands for an artifact, such as `checkpoints/{run}`, in a rule."""
        return str(self.folder / path)

    def stage(self, kind: str, wildcards) -> Stage | None:
        """Return the stage KIND-{wildcards…}; None where there is none, which a rule is asked for all the same."""
        return self.graph.stages.get(f"{kind}-{next(iter(wildcards))}")

    def inputs(self, kind: str, name: str) -> Callable:
        """Return a rule's input function: the markers of what the stage KIND-{wildcards…} reads under a name."""

        def paths(wildcards) -> list:
            stage = self.stage(kind, wildcards)
            return [self.link(path) for path in stage.inputs.get(name, ())] if stage else []

        return paths

    def link(self, path: str):
        """Return the marker of an input; one that is only restored does not make its readers run.

        Unless its data is not on this machine: it may have to be made anew, and its readers look once it is there.
        """
        maker = self.graph.makers[path]
        marker = self.artifact(self.graph.stages[maker].artifact)
        if self.ledger and maker in self.ledger.near:
            from snakemake.io import ancient

            return ancient(marker)
        return marker

    def machines(self, kind: str) -> dict[str, Callable]:
        """Return a rule's resource functions: the machines that the stage KIND-{wildcards…} asks for, by name.

        At home jobs take what there is, and of main memory what their runs say.
        """

        def of_this_machine(wildcards) -> int:
            stage = self.stage(kind, wildcards)
            return self.memory(stage) if stage else 0

        def function(name: str) -> Callable:
            def value(wildcards, input, attempt, threads, rulename, async_run):
                context = {"input": input, "attempt": attempt, "threads": threads}

                def profiles(resource: str):
                    default = self.defaults.get(resource)  # it may be an expression
                    return default.evaluate(wildcards, **context, rulename=rulename, async_run=async_run).value

                stage = self.stage(kind, wildcards)
                if self.submission:
                    return self.submission.resource(name, stage, profiles) if stage else None
                return job_resources(stage.resources if stage else {}, profiles)[name]

            return value

        names = submitting.RESOURCES if self.submission else RESOURCES
        return {MEMORY: of_this_machine} if self.at_home else {name: function(name) for name in names}

    def accelerators(self, kind: str) -> Callable:
        """Return a rule's resource function: how many units of `accelerator` the stage KIND-{wildcards…} takes."""

        def value(wildcards) -> int:
            stage = self.stage(kind, wildcards)
            return self.gpus(stage) if stage else 1

        return value

    def command(self, kind: str) -> Callable:
        """Return a rule's params function: the very command of a stage, for the first line of its shell block.

        One line of whatever characters, so that it can be a comment there.
        """

        def text(wildcards) -> str:
            stage = self.stage(kind, wildcards)
            return shown(stage.cmd) if stage else ""

        return text

    def flags(self, kind: str) -> Callable:
        """Return a rule's params function: `--force` for the stages that the user forces."""
        return lambda wildcards: "--force" if f"{kind}-{next(iter(wildcards))}" in self.force else ""

    def begin(self) -> None:
        """Let SIGTERM cancel jobs on other machines, as Ctrl-C does; Snakemake would wait until they end by themselves.

        Call it once jobs are about to start: Snakemake has set its own answer to the signal by then.
        """
        if self.away:
            signal.signal(signal.SIGTERM, signal.default_int_handler)

    def end(self, succeeded: bool) -> None:
        """Take what jobs on other machines have returned into dvc.lock, whether the workflow has succeeded or not."""
        if succeeded:
            self.go_on()
        if self.submission:
            try:
                runs = self.ledger.selection if self.graph.mistakes else None
                update_ledger_files(open_ledger(local_data=False, runs=runs))
                share_digests()
            except HeirloomError as error:  # the config was edited meanwhile
                print(f"returned results are recorded by the next `snakemake`, as now: {error}", file=sys.stderr)

    def go_on(self) -> None:
        """Let `snakemake` start over when a stage that was only to be restored had to be made anew, otherwise.

        Its data was damaged: what reads it was not scheduled, and would stay as it is.
        """
        for name in self.ledger.near if self.ledger and self.at_home else ():
            entry = markers.read_marker(self.folder, self.graph.stages[name].artifact)
            if entry and entry["outs"] != self.ledger.entries[name]["outs"] and AGAIN not in os.environ:
                print(f"{name} could not be restored and was made anew: its readers follow", file=sys.stderr)
                os.environ[AGAIN] = "1"
                atexit.register(os.execv, sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])
                return

    def targets(self, gate: str | None = None) -> list[str]:
        """Return the markers that `rule all` asks for: of what is to be done, so that current stages cost nothing.

        What stands on data that may have to be made anew, because it is not on this machine, may follow.
        With a `gate`, the markers of what that stage stands on, and its own.
        """
        names = self.ledger.to_do_or_to_follow() if self.ledger else []
        if gate is not None:
            needed = self.graph.ancestors([gate])
            names = [name for name in names if name in needed]
        return [self.artifact(self.graph.stages[name].artifact) for name in names] or [self.artifact(NOTHING)]


def open_session(workflow, config: dict) -> Session:
    """Prepare this Snakemake process.

    The main process checks the whole config, takes the lock, compares and sets the markers; a real run also brings
    dvc.yaml and dvc.lock in step. `-n`, `--lint`, `--dag` and the like write nothing that git tracks.
    Raises HeirloomError, with every mistake at once.
    """
    refuse_other_folder()
    if not workflow.is_main_process:
        force = tuple(listed("force", config.get("force") or None) or ())
        return Session(load_graph(strict=False)[1], MARKERS, workflow, force=force, image=config.get("image"))
    options = command_line()
    reject_unsupported(options)
    settings = workflow_settings(config, options)
    rehearse_instead(settings, options)
    force = tuple(listed("force", settings.get("force")) or ())
    image = container_image(workflow, settings, options)
    here = kinds_here(settings)
    budgets, cluster = budgets_of(settings), cluster_of(settings)
    real = will_execute(options)
    alone = _lock.take()
    if real and _lock.problem:
        raise HeirloomError(f"{LOCK_FILE} cannot be written ({_lock.problem}): `snakemake -n` works without")
    if real and not alone:
        raise HeirloomError(
            "another `snakemake` is working in this folder: wait for it, or stop it; `snakemake -n` works meanwhile"
        )
    forget_other_sessions()
    to_sagemaker = executor(options) == SAGEMAKER
    wrong = setting_problems(options) if to_sagemaker else []
    try:
        gates = only_gates(options)
        ledger = open_ledger(data_is_local(settings, options), settings.get("runs"), settings.get("force"), gates)
    except HeirloomError as error:
        raise HeirloomError("\n".join([*wrong, str(error)])) from error
    reject_unknown_targets(options, ledger.graph)
    folder = MARKERS if alone else private_folder()
    submission = None
    if to_sagemaker:
        submission = Submission(ledger, folder, here, setting(options, "instance_type"))
        wrong += submission.problems()
    showing = options is not None and options.dryrun
    away = executor(options) != "local"
    quoted = real and (to_sagemaker or (cluster != Cluster() and away))
    if showing or quoted:
        estimates = quotation(ledger, submitting.region(options), cluster)
    if quoted and not wrong:
        wrong = refusals(estimates, budgets) or (submission.inputs_not_pushed() if submission else [])
    required = rehearsal_required(settings)
    unsafe = (
        unrehearsed(ledger, here if to_sagemaker else ()) if (required or to_sagemaker) and (real or showing) else []
    )
    if real and required and unsafe:
        wrong.append(f"the profile has rehearse=required, and some runs are {advice(unsafe)}")
    if wrong:
        raise HeirloomError("\n".join(wrong))
    if quoted:
        keep_estimates(estimates)
    if alone and not ledger.graph.mistakes:
        with suppress(OSError):  # for DVC, which git brings none of them; not in a clone that may only be read
            bring_in_step(ledger.graph.programs)
    if not away and image is None:  # an image has an environment of its own
        check_vllm_here(ledger)
        check_math_verify_here(ledger)
    gpus = share_out(workflow, ledger, real) if not away else lambda stage: 1
    memory = share_memory(workflow) if not away else lambda stage: 0
    if real:
        set_aside_damaged_lock()
        release_what_the_dead_hold()
        update_ledger_files(ledger)
        if not away or to_sagemaker:  # SageMaker's jobs get no variable that is not announced, its local ones this
            os.environ[CONTROLLER] = str(os.getpid())
        if submission:
            JOBS_AWAY.touch()
            submission.announce(workflow)
    markers.synchronise(folder, ledger.graph, visible_entries(ledger, to_sagemaker))
    if options is not None and not (options.lint or options.dag or options.rulegraph or options.filegraph):
        print_plan(ledger, sys.stderr)
        if showing:
            print_quotation(estimates, sys.stderr, budgets)
    if unsafe:
        print(f"{'refused by rehearse=required: ' if required else ''}{advice(unsafe)}", file=sys.stderr)
    if real or showing:
        # SageMaker's jobs get no variable that is not announced, Slurm's would get this one
        open_terminal(workflow.logger_manager, options, jobs_here=real and (not away or to_sagemaker))
    return Session(
        ledger.graph,
        folder,
        workflow,
        ledger,
        force,
        image,
        not away,
        away and real,
        submission,
        gpus,
        gate_targets(options),
        memory,
    )


def private_folder() -> Path:
    """Return a folder for the markers of a process that changes nothing; it is deleted when the process ends."""
    usable = MARKERS.parent.is_dir() and os.access(MARKERS.parent, os.W_OK)  # not in a read-only clone
    folder = Path(tempfile.mkdtemp(prefix="markers-", dir=MARKERS.parent if usable else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def refuse_other_folder() -> None:
    """Raise HeirloomError where `snakemake` works in another folder than this one."""
    if Path.cwd() != ROOT:
        raise HeirloomError(
            f"this workflow works in {ROOT}, and here is {Path.cwd()}: `cd {shlex.quote(str(ROOT))}` first"
        )


def forget_other_sessions() -> None:
    """Forget what a session that has started this one told its jobs."""
    for variable in (CONTROLLER, JOB_OUTPUT, job_remote.VARIABLE):
        os.environ.pop(variable, None)


def default_resources(workflow) -> Resources:
    """Return the profile's `default-resources`, by name."""
    given = workflow.resource_settings.default_resources
    return given if isinstance(given, Resources) else Resources.from_mapping(given or {})


def visible_entries(ledger: Ledger, to_sagemaker: bool) -> dict:
    """Return stage → entry for the markers to show: all but those of stages that must run or be restored.

    On SageMaker also without those that follow: a job's key is asked for when all its inputs have been made anew.
    """
    actions = (Action.RUN, Action.RESTORE, *([Action.FOLLOW] if to_sagemaker else []))
    hidden = [name for name, verdict in ledger.verdicts.items() if verdict.action in actions]
    return {name: ledger.entries[name] for name in ledger.graph.stages if name in ledger.entries and name not in hidden}


def share_digests() -> None:
    """Put the files of digests where jobs put their results: a colleague's `dvc pull` wants all that dvc.lock names."""
    entry = read_lock().get(dvcfile.DIGEST)
    problem = push_once(dvcfile.DIGEST, entry) if entry else None
    if problem:
        print(
            f"the digests of code are not on the DVC remote ({problem}): `dvc push {dvcfile.DIGEST}`", file=sys.stderr
        )


def update_ledger_files(ledger: Ledger) -> None:
    """Write dvc.yaml, merge entries found elsewhere into dvc.lock, and note in the history what dvc.lock knows.

    After jobs on SageMaker the history also gets what returned markers hold: results of a config that was edited
    meanwhile, or is not selected now. Markers are only deleted after this, so that a controller killed in between loses
    no result.
    """
    dvcfile.write(ledger.graph)
    in_step = guards_in_step(ledger.graph, ledger.entries)
    ledger.history.add_same([])  # what carrying entries over from an earlier version has found
    if ledger.adopted or ledger.damaged or in_step:
        with dvc_lock():
            if ledger.damaged:
                lockfile.replace_damaged(ledger.entries | in_step)
            else:
                lockfile.write_entries(ledger.adopted | in_step)
    if JOBS_AWAY.exists():
        ledger.history.add(markers.returned(MARKERS, ledger.graph))
        JOBS_AWAY.unlink()
    ledger.history.add(ledger.adopted)
    ledger.history.add_if_executed(ledger.current())
