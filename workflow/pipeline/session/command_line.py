"""What the user typed: Snakemake's options, profiles included, and this workflow's own settings in `--config`."""

import contextlib
import io
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from heirloom.config.arguments.instance_types import GPUS
from heirloom.config.folders import named_files
from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.parsing.reading import read_yaml
from heirloom.errors import HeirloomError
from pipeline.graph import KINDS, Graph
from pipeline.ledger import listed
from pipeline.paths import STATE
from pipeline.plan import Bill, Budgets, Cluster, bills

SETTINGS = ("runs", "force", "data", "image", "here", "rehearse", "budget", "month_budget", "gpu", "usd_per_gpu_hour")
"""Settings of this workflow, for `--config`."""
GATE = "gate-"
REQUIRED = "required"
SAGEMAKER = "sagemaker"
"""The executor whose jobs share no folder with this machine."""


def command_line():
    """Return Snakemake's own reading of the command line, profiles included; None when it was not started from one."""
    from snakemake.cli import parse_args

    if Path(sys.argv[0]).name not in ("snakemake", "__main__.py"):
        return None
    with contextlib.redirect_stderr(io.StringIO()):  # it would tell a second time which profile it uses
        return parse_args(sys.argv[1:])[1]


def workflow_settings(config: dict, options) -> dict:
    """Return this workflow's settings; of a profile's `config:` also those that `--config` does not name.

    Snakemake itself forgets a profile's `config:` as soon as the command line has one. Raises HeirloomError, which
    names the profile, for a setting that nothing reads.
    """
    by_file = {file: profile_config(file) for file in profile_files(options)}
    for file, given in [*by_file.items(), (None, config)]:
        if unknown := [key for key in given if key not in SETTINGS]:
            place = f"--config {', '.join(unknown)}" if file is None else f"{file}: config: {', '.join(unknown)}"
            raise HeirloomError(f"{place}: not a setting of this workflow, which knows {', '.join(SETTINGS)}")
    settings: dict = {}
    for given in by_file.values():
        settings |= given
    return settings | config | as_typed(options)


def as_typed(options) -> dict[str, str]:
    """Return `--config` as text: Snakemake reads `runs=1e3` as a number, and `runs=` as nothing."""
    given = [item.partition("=") for item in (getattr(options, "config", None) or []) if isinstance(item, str)]
    return {key: value for key, equals, value in given if equals and key in SETTINGS}


def profile_config(file: Path) -> dict:
    """Return the `config:` of a profile's file. Raises HeirloomError for what is none."""
    content = read_yaml(file)
    given = content.get("config") or {} if isinstance(content, dict) else {}
    if not isinstance(given, dict | list):
        raise HeirloomError(f"{file}: config: expected a mapping of settings, found {given!r}")
    return given if isinstance(given, dict) else dict(str(item).partition("=")[::2] for item in given)


def profile_files(options) -> list[Path]:
    """Return the files of the profiles that are in use, the last one first in rank: the workflow's goes on top."""
    from snakemake.cli import get_profile_dir

    if options is None:
        return []
    named = [get_profile_dir(name) for name in (options.profile or [])]
    if options.workflow_profile != "none":
        name = options.workflow_profile or "default"
        places = [Path(name), Path("profiles") / name, Path("workflow/profiles") / name]  # as Snakemake looks for it
        named += [get_profile_dir(str(place)) for place in places if place.exists()][:1]
    return [file for _, file in filter(None, named)]


def executor(options) -> str:
    """Return the name of the executor that is asked for; `local` is this machine."""
    return (options and options.executor) or "local"


def data_is_local(settings: dict, options) -> bool:
    """Tell whether data belongs on this machine (`data=local`), or may be remote (`data=remote`).

    Jobs on SageMaker leave theirs on the DVC remote.
    """
    away = executor(options) == SAGEMAKER
    value = settings.get("data", "remote" if away else "local")
    if value not in ("local", "remote"):
        raise HeirloomError(f"--config data={value}: expected local or remote")
    if away and value == "local":
        raise HeirloomError("--config data=local: jobs on SageMaker leave their data on the DVC remote; remove it")
    return value == "local"


def kinds_here(settings: dict) -> list[str]:
    """Return the kinds of stages that run on this machine though the others do not. Raises HeirloomError."""
    kinds = [kind for kind in str(settings.get("here") or "").replace(" ", "").split(",") if kind]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise HeirloomError(f"--config here={','.join(unknown)}: no kind of stage; there are {', '.join(KINDS)}")
    return kinds


def rehearse_instead(settings: dict, options) -> None:
    """With `--config rehearse=RUN`: rehearse these runs, and end with the rehearsal's exit status.

    Nothing with `rehearse=required`, a profile's word for a condition (`rehearsal_required`).
    Raises HeirloomError where nothing is to be executed.
    """
    named = listed("rehearse", settings.get("rehearse") or None)
    if not named or rehearsal_required(settings):
        return
    if not will_execute(options):
        raise HeirloomError("--config rehearse= executes each stage, in small: leave out what only shows something")
    sys.exit(subprocess.run([sys.executable, "scripts/rehearse.py", *named], check=False).returncode)


def rehearsal_required(settings: dict) -> bool:
    """Tell whether only what was rehearsed, or executed before, may be executed."""
    return settings.get("rehearse") == REQUIRED


def dollars(settings: dict, name: str) -> float | None:
    """Return a setting that is a sum of US dollars, None where it is not given. Raises HeirloomError for no sum."""
    text = settings.get(name)
    if text is None:
        return None
    try:
        sum_of_it = float(text)
    except ValueError:
        sum_of_it = 0.0
    if not 0 < sum_of_it < float("inf"):
        raise HeirloomError(f"--config {name}={text}: expected US dollars above 0, for example {name}=200")
    return sum_of_it


def budgets_of(settings: dict) -> Budgets:
    """Return the most US dollars that this command's jobs, and the month's, may cost. Raises HeirloomError."""
    month = f"{datetime.now(UTC):%Y-%m}"
    limit = dollars(settings, "month_budget")
    billed = bills()["month"].get(month) if limit is not None else None
    return Budgets(dollars(settings, "budget"), limit, month, billed or Bill())


def cluster_of(settings: dict) -> Cluster:
    """Return what a profile says of a cluster's GPUs. Raises HeirloomError for a card that is not known."""
    gpu = settings.get("gpu")
    if gpu is not None and gpu not in GPUS:
        raise HeirloomError(f"--config gpu={gpu}: no card whose memory is known here; {did_you_mean(str(gpu), GPUS)}")
    return Cluster(gpu, dollars(settings, "usd_per_gpu_hour"))


def container_image(workflow, settings: dict, options) -> str | None:
    """Return the image in which `--sdm apptainer` runs the stages; it is no part of their identity.

    `--lint` wants each rule to have one: it gets the form of the name.
    Raises HeirloomError when one of the two is there without the other: stages would run outside the image unnoticed;
    and when stages are to run in an environment that no rule names.
    """
    methods = {str(method) for method in workflow.deployment_settings.deployment_method}
    image = settings.get("image")
    if others := sorted(methods - {"apptainer"}):
        raise HeirloomError(
            f"--sdm {' '.join(others)}: no rule names such an environment; stages run in the one that runs Snakemake "
            "(`make setup`), or in an image (--sdm apptainer, docs/image.md); leave it out"
        )
    if options is not None and options.lint:
        return image or "docker://REGISTRY/heirloom"
    if "apptainer" in methods and not image:
        raise HeirloomError(
            "--sdm apptainer: name the image that stages run in: --config image=docker://REGISTRY/heirloom@sha256:… "
            "or a .sif file (docs/image.md)"
        )
    if image and "apptainer" not in methods:
        raise HeirloomError(f"--config image={image}: stages run in an image only with --sdm apptainer; add it")
    return image


def only_gates(options) -> list[str]:
    """Return the runs whose gates are all that is asked for, by targets `gate-RUN`; none where more is."""
    gates = gate_targets(options)
    asked = set(map(str, options.targets or [])) if options is not None else set()
    return [gate.removeprefix(GATE) for gate in gates] if asked == set(gates) else []


def gate_targets(options) -> tuple[str, ...]:
    """Return the targets `gate-RUN` of the command line, each once."""
    return tuple(dict.fromkeys(filter(is_gate, map(str, (options and options.targets) or []))))


def is_gate(target: str) -> bool:
    """Tell whether a target is `gate-RUN`, which alone of the stages' names is one: for its exit status."""
    return target.startswith(GATE) and "/" not in target


def reject_unknown_targets(options, graph: Graph) -> None:
    """Refuse targets that Snakemake does not know, with the command for what is meant. Raises HeirloomError."""
    if options is None:
        return
    for name in [*(options.until or []), *(options.omit_from or [])]:
        if name not in (*KINDS, "all"):
            raise HeirloomError(f"no rule is called {name}; {did_you_mean(name, KINDS, 'there are')}")
    for target in map(str, options.targets or []):
        if is_gate(target) and target in graph.stages:
            continue
        stage = graph.stages.get(target) or graph.stages.get(graph.makers.get(target.rstrip("/"), ""))
        if stage is not None:
            users = runs_with(stage.name, graph)
            raise HeirloomError(
                f"{target} is no target: `snakemake --config runs={','.join(users)} --until {stage.kind}` brings "
                f"{stage.name} up to date with all that it stands on; `--config force={stage.name}` executes it again"
            )
        if target in KINDS:
            raise HeirloomError(
                f"{target} is a rule for many stages: `snakemake --until {target}` brings them up to date"
            )
        if target != "all" and not target.startswith(str(STATE)):
            dataset = re.fullmatch(r"(?:data/(?:processed|raw)/|process-|download-)([\w-]+)/?", target)
            if dataset and dataset[1] in named_files(Path(), "datasets"):
                raise HeirloomError(
                    f"{target}: no enabled run uses this dataset, so there is no stage for it: `python "
                    f"scripts/preview_dataset.py {dataset[1]}` processes it to look at"
                )
            known = [*graph.stages, *graph.makers]
            raise HeirloomError(f"there is nothing called {target}; {did_you_mean(target, known, 'there are')}")


def runs_with(name: str, graph: Graph) -> list[str]:
    """Return the fewest runs that a stage belongs to or stands below: its own, else the first that needs it."""
    reports = [stage for stage in graph.stages.values() if stage.kind in ("train", "report")]
    own = [stage.subject for stage in reports if stage.subject == graph.stages[name].subject]
    below = [stage.subject for stage in reports if name in graph.ancestors([stage.name])]
    return (own or below)[:1]


def reject_unsupported(options) -> None:
    """Refuse options of Snakemake that would act on markers instead of stages. Raises HeirloomError."""
    if options is None:
        return
    given = {
        "--forcerun (-R)": options.forcerun,
        "--forceall (-F)": options.forceall,
        "--force (-f)": options.force,
        "--touch (-t)": options.touch,
        "--executor touch": options.executor == "touch",
        "--delete-all-output": options.delete_all_output,
    }
    found = [name for name, value in given.items() if value]
    if found:
        raise HeirloomError(
            f"{', '.join(found)} acts on Snakemake's files, not on results: to execute a stage again, type "
            "`snakemake --config force=STAGE` (several: force=STAGE,STAGE); `make plan` lists the stages"
        )
    accelerators = (options.resources or {}).get("accelerator")
    if accelerators is not None and accelerators.value == 0:
        raise HeirloomError(
            "resources: accelerator=0: stages with ranks, which ask for one, could never start; write accelerator=1 in "
            "the profile, or for --resources"
        )
    for flag, number in (("--cores", options.cores), ("--jobs", options.jobs)):
        if isinstance(number, int) and number < 1:
            raise HeirloomError(f"{flag} {number}: nothing could ever start; give 1 or more, or leave it out")


MODES_WITHOUT_EXECUTION = (
    "dryrun", "lint", "list_rules", "list_target_rules", "print_compilation", "dag", "rulegraph", "filegraph", "d3dag",
    "unlock", "cleanup_metadata", "conda_cleanup_envs", "conda_create_envs_only", "list_conda_envs", "cleanup_shadow",
    "container_cleanup_images", "list_changes", "list_input_changes", "list_params_changes", "list_untracked",
    "summary", "detailed_summary", "archive", "generate_unit_tests", "containerize", "report",
)  # fmt: skip


def will_execute(options) -> bool:
    """Tell whether this command line executes jobs, rather than showing something."""
    return options is not None and not any(getattr(options, mode) for mode in MODES_WITHOUT_EXECUTION)
