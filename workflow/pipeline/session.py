"""What the Snakefile asks for: the graph, the markers, and what is to be done."""

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from snakemake.resources import Resources

from heirloom.errors import HeirloomError
from pipeline import dvcfile, lockfile, markers
from pipeline.graph import Graph
from pipeline.ledger import Ledger, load_graph, open_ledger
from pipeline.locking import WorkflowLock, dvc_lock
from pipeline.machines import RESOURCES, job_resources
from pipeline.markers import NOTHING
from pipeline.paths import DVC_LOCK, MARKERS
from pipeline.planning import print_plan
from pipeline.running import CONTROLLER
from pipeline.staleness import Action

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
    ) -> None:
        self.graph = graph
        self.folder = folder
        self.defaults = default_resources(workflow)
        self.remote = not workflow.local_exec
        self.ledger = ledger
        self.force = force
        self.image = image

    def artifact(self, path: str) -> str:
        """Return the marker that stands for an artifact, such as `checkpoints/{run}`, in a rule."""
        return str(self.folder / path)

    def inputs(self, kind: str, name: str) -> Callable:
        """Return a rule's input function: the markers of what the stage KIND-{wildcards…} reads under a name."""

        def paths(wildcards) -> list:
            stage = self.graph.stages.get(f"{kind}-{next(iter(wildcards))}")
            return [self.link(path) for path in stage.inputs.get(name, ())] if stage else []

        return paths

    def link(self, path: str):
        """Return the marker of an input; one that is only restored does not make its readers run."""
        marker = self.artifact(self.graph.stages[self.graph.makers[path]].artifact)
        verdict = self.ledger and self.ledger.verdicts.get(self.graph.makers[path])
        if verdict and verdict.action is Action.RESTORE:
            from snakemake.io import ancient

            return ancient(marker)
        return marker

    def machines(self, kind: str) -> dict[str, Callable]:
        """Return a rule's resource functions: the machines that the stage KIND-{wildcards…} asks for, by name."""

        def function(name: str) -> Callable:
            def value(wildcards, input, attempt, threads, rulename, async_run):
                context = {"input": input, "attempt": attempt, "threads": threads}

                def profiles(resource: str):
                    default = self.defaults.get(resource)  # it may be an expression
                    return default.evaluate(wildcards, **context, rulename=rulename, async_run=async_run).value

                stage = self.graph.stages.get(f"{kind}-{next(iter(wildcards))}")
                return job_resources(stage.resources if stage else {}, profiles)[name]

            return value

        return {name: function(name) for name in RESOURCES}

    def flags(self, kind: str) -> Callable:
        """Return a rule's params function: `--force` for the stages that the user forces."""
        return lambda wildcards: "--force" if f"{kind}-{next(iter(wildcards))}" in self.force else ""

    def begin(self) -> None:
        """Let SIGTERM cancel jobs on other machines, as Ctrl-C does; Snakemake would wait until they end by themselves.

        Call it once jobs are about to start: Snakemake has set its own answer to the signal by then.
        """
        if self.remote and self.ledger:
            signal.signal(signal.SIGTERM, signal.default_int_handler)

    def targets(self) -> list[str]:
        """Return the markers that `rule all` asks for: of what is to be done, so that current stages cost nothing."""
        names = self.ledger.to_do() if self.ledger else []
        return [self.artifact(self.graph.stages[name].artifact) for name in names] or [self.artifact(NOTHING)]


def open_session(workflow, config: dict) -> Session:
    """Prepare this Snakemake process.

    The main process checks the whole config, takes the lock, compares and sets the markers; a real run also brings
    dvc.yaml and dvc.lock in step. `-n`, `--lint`, `--dag` and the like write nothing that git tracks.
    Raises HeirloomError, with every mistake at once.
    """
    force = tuple(name for name in str(config.get("force", "")).split(",") if name)
    if not workflow.is_main_process:
        return Session(load_graph()[1], MARKERS, workflow, force=force, image=config.get("image"))
    options = command_line()
    reject_unsupported(options)
    reject_unknown_config(config)
    image = container_image(workflow, config)
    real = will_execute(options)
    alone = _lock.take()
    if real and not alone:
        raise HeirloomError(
            "another `snakemake` is working in this folder: wait for it, or stop it; `snakemake -n` works meanwhile"
        )
    ledger = open_ledger(local_data(config), config.get("runs"), force)
    folder = MARKERS if alone else Path(tempfile.mkdtemp(prefix="markers-", dir=MARKERS.parent))
    if real:
        bring_in_step(ledger)
        os.environ.pop(CONTROLLER, None)
        if workflow.local_exec:  # a job on another machine cannot watch a process of this one
            os.environ[CONTROLLER] = str(os.getpid())
    markers.synchronise(folder, ledger.graph, whole_graph(ledger))
    if options is not None and not (options.lint or options.dag or options.rulegraph or options.filegraph):
        print_plan(ledger, sys.stderr)
    return Session(ledger.graph, folder, workflow, ledger, force, image)


def default_resources(workflow) -> Resources:
    """Return the profile's `default-resources`, by name."""
    given = workflow.resource_settings.default_resources
    return given if isinstance(given, Resources) else Resources.from_mapping(given or {})


def whole_graph(ledger: Ledger) -> dict:
    """Return stage → entry for the markers to show: all but those of stages that must run or be restored."""
    hidden = [name for name, verdict in ledger.verdicts.items() if verdict.action in (Action.RUN, Action.RESTORE)]
    return {name: ledger.entries[name] for name in ledger.graph.stages if name in ledger.entries and name not in hidden}


def bring_in_step(ledger: Ledger) -> None:
    """Write dvc.yaml, merge entries found elsewhere into dvc.lock, and note in the history what dvc.lock knows.

    Markers are only deleted after this, so that a controller killed in between loses no result.
    """
    dvcfile.write(ledger.graph)
    if ledger.adopted or ledger.damaged:
        with dvc_lock():
            if ledger.damaged:
                DVC_LOCK.rename(DVC_LOCK.with_suffix(".lock.damaged"))
                lockfile.write_entries(dict(ledger.entries))
            else:
                lockfile.write_entries(dict(ledger.adopted))
    ledger.history.add(ledger.current())


def local_data(config: dict) -> bool:
    """Tell whether data belongs on this machine (`data=local`, the default) or may be remote (`data=remote`)."""
    value = config.get("data", "local")
    if value not in ("local", "remote"):
        raise HeirloomError(f"--config data={value}: expected local or remote")
    return value == "local"


def container_image(workflow, config: dict) -> str | None:
    """Return the image in which `--sdm apptainer` runs the stages; it is no part of their identity.

    Raises HeirloomError when one of the two is there without the other: stages would run outside the image unnoticed.
    """
    methods = {str(method) for method in workflow.deployment_settings.deployment_method}
    image = config.get("image")
    if "apptainer" in methods and not image:
        raise HeirloomError(
            "--sdm apptainer: name the image that stages run in: --config image=docker://REGISTRY/heirloom@sha256:… "
            "or a .sif file (docs/image.md)"
        )
    if image and "apptainer" not in methods:
        raise HeirloomError(f"--config image={image}: stages run in an image only with --sdm apptainer; add it")
    return image


def reject_unknown_config(config: dict) -> None:
    """Refuse workflow settings that nothing reads. Raises HeirloomError."""
    known = ("runs", "force", "data", "image")
    unknown = [key for key in config if key not in known]
    if unknown:
        raise HeirloomError(
            f"--config {', '.join(unknown)}: not a setting of this workflow, which knows {', '.join(known)}"
        )


def command_line():
    """Return Snakemake's own reading of the command line, profiles included; None when it was not started from one."""
    from snakemake.cli import parse_args

    if Path(sys.argv[0]).name not in ("snakemake", "__main__.py"):
        return None
    with contextlib.redirect_stderr(None):  # it would tell a second time which profile it uses
        return parse_args(sys.argv[1:])[1]


def reject_unsupported(options) -> None:
    """Refuse options of Snakemake that would act on markers instead of stages. Raises HeirloomError."""
    if options is None:
        return
    given = {
        "--forcerun (-R)": options.forcerun,
        "--forceall (-F)": options.forceall,
        "--force (-f)": options.force,
        "--touch (-t)": options.touch,
        "--delete-all-output": options.delete_all_output,
    }
    found = [name for name, value in given.items() if value]
    if found:
        raise HeirloomError(
            f"{', '.join(found)} acts on Snakemake's files, not on results: to execute a stage again, type "
            "`snakemake --config force=STAGE` (several: force=STAGE,STAGE); `make plan` lists the stages"
        )


MODES_WITHOUT_EXECUTION = (
    "dryrun", "lint", "list_rules", "list_target_rules", "print_compilation", "dag", "rulegraph", "filegraph", "d3dag",
    "unlock", "cleanup_metadata", "conda_cleanup_envs", "conda_create_envs_only", "list_conda_envs", "cleanup_shadow",
    "container_cleanup_images", "list_changes", "list_input_changes", "list_params_changes", "list_untracked",
    "summary", "detailed_summary", "archive", "generate_unit_tests", "containerize", "report",
)  # fmt: skip


def will_execute(options) -> bool:
    """Tell whether this command line executes jobs, rather than showing something."""
    return options is not None and not any(getattr(options, mode) for mode in MODES_WITHOUT_EXECUTION)


def interpreter_first_on_path() -> None:
    """Let `python` and `dvc` in a stage's command be those of the environment that runs Snakemake."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + path
