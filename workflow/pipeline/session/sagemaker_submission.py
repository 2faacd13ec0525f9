"""What a session of `snakemake --profile sagemaker` adds to its jobs, on the machine that submits them.

The executor plugin makes a training job of each Snakemake job. What it runs on is said by the run's own section
`resources:`, key by key, else by the profile; what it works on are the sources of this folder and the DVC remote.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from heirloom.config.arguments.instance_types import is_cpu, ranks
from heirloom.launcher import commit
from pipeline.execution import job_remote
from pipeline.git import git
from pipeline.graph import Stage
from pipeline.ledger import (
    Action,
    Fingerprints,
    Ledger,
    config_sections,
    expected_entry,
    identity_of,
    markers,
    recorded_outs,
)
from pipeline.paths import COSTS, RECORDS, THROUGHPUT
from pipeline.session.command_line import profile_files

ASKED = (
    "instance_type", "instance_count", "volume_size", "image", "max_runtime", "max_pending", "maximum_retry_attempts",
    "infra_check", "training_plan_arn", "spot", "max_wait", "keep_alive", "efa",
)  # fmt: skip
"""Resources that a run's own section may name; the plugin's names."""
RESOURCES = (*ASKED, "instance_ranks", "tags", "checkpoints", "job_key", "record", "return_files", "worker_command")

NEW_FILES = ("--others", "--exclude-standard")
LARGEST_NEW = 10_000_000
"""Bytes; the plugin takes a larger file that git does not track for data."""

REQUIRED = {
    "role": ("arn:aws[a-z-]*:iam::[0-9]{12}:role/.+", "the role that jobs run with, arn:aws:iam::ACCOUNT:role/NAME"),
    "s3_prefix": ("s3://[^/]+/.+", "where the jobs' own files go, s3://BUCKET/PREFIX"),
    "image": (".+[:@].+", "the image of the jobs, REGISTRY/heirloom@sha256:… as docker/build_push_image.sh prints it"),
    "instance_type": (r"ml\..+", "the instance of stages whose run names none, for example ml.m5.xlarge"),
}
"""Setting → its form, what it is."""


def setting_problems(options) -> list[str]:
    """Return a sentence for each setting of the profile that is missing or of a wrong form."""
    files = profile_files(options) if options.profile else []
    place = f"{os.path.relpath(files[0].resolve())}: " if files else ""
    found = []
    for name, (form, meaning) in REQUIRED.items():
        value = setting(options, name)
        key = f"sagemaker-{name.replace('_', '-')}"
        if not value:
            found.append(f"{place}{key} is missing: {meaning}")
        elif not re.fullmatch(form, value):
            found.append(f"{place}{key} is {value!r}; expected {meaning}")
    if not region(options):
        found.append(f"{place}sagemaker-region is missing, and AWS's own settings name none: for example eu-west-1")
    return found


def region(options) -> str | None:
    """Return the region of the jobs: the profile's, else AWS's own; None where no job goes to SageMaker."""
    if options is None or options.executor != "sagemaker":
        return None
    return setting(options, "region") or aws_region()


def setting(options, name: str) -> str | None:
    """Return a setting of the plugin's as text, None where it is not set."""
    value = getattr(options, f"sagemaker_{name}", None)
    return value if isinstance(value, str) and value else None  # unset ones hold a mark of dataclasses


def aws_region() -> str | None:
    """Return the region that the environment or ~/.aws/config names."""
    import botocore.session

    return botocore.session.get_session().get_config_variable("region")


class Submission:
    """One session's jobs on SageMaker; `here` are the kinds of stages that run on this machine instead."""

    def __init__(self, ledger: Ledger, folder: Path, here: Iterable[str], instance: str | None = None) -> None:
        """`instance` is the profile's instance type, for runs that name none."""
        self._ledger = ledger
        self._folder = folder
        self._here = tuple(here)
        self._instance = instance
        self._remote: dict[str, str] = {}
        self._sections = config_sections(ledger.graph.members)

    def problems(self) -> list[str]:
        """Return a sentence for everything that jobs could not reach: the DVC remote, files that are not sources."""
        self._remote, wrong = job_remote.remote_for_jobs()
        return wrong + self.files_left_behind() + self.other_numbers_of_gpus()

    def other_numbers_of_gpus(self) -> list[str]:
        """Return a sentence for each stage that asks for another number of GPUs than its instance has."""
        stages = [self._ledger.graph.stages[name] for name in self._ledger.to_do()]
        found = [other_number_of_gpus(stage, self._instance) for stage in stages if stage.kind not in self._here]
        return [problem for problem in found if problem is not None]

    def files_left_behind(self) -> list[str]:
        """Return a sentence for each file that a job would read and that is no source: it would be missing there."""
        tracked, new = (set(git("ls-files", "-z", *which).split("\0")) for which in ((), NEW_FILES))
        small = {name for name in new if name and Path(name).lstat().st_size <= LARGEST_NEW}
        sources = tracked | small | {str(parent) for name in tracked | small for parent in Path(name).parents}
        stages = [self._ledger.graph.stages[name] for name in self._ledger.to_do()]
        return [
            f"{file}, read by {stage.name}, does not get into a job: it is outside the repository, ignored by git, or "
            f"new and above {LARGEST_NEW // 10**6} MB: `git add --force` it, or run the stage on this machine, with "
            f"`config: [here={stage.kind}]` in the profile"
            for stage in stages
            if stage.kind not in self._here
            for file in (*stage.files, *stage.code)
            if os.path.normpath(file) not in sources and Path(file).exists()
        ]

    def inputs_not_pushed(self) -> list[str]:
        """Return a sentence where jobs would read results that are not on the remote; it is asked for them."""
        from pipeline.execution import absent

        current, graph = self._ledger.current(), self._ledger.graph
        read = {path for name in self._ledger.to_do() for path in graph.stages[name].deps}
        made = [entry for name, entry in current.items() if read & set(graph.stages[name].products)]
        missing = read & set(absent(made)) if made else ()
        return [
            f"{path}, an input of jobs, is not on the DVC remote: where it was made, `dvc push {graph.makers[path]}`"
            for path in sorted(missing)
        ]

    def announce(self, workflow) -> None:
        """Tell the jobs, here and there, the DVC remote and the commit; let the kinds that run here do so."""
        job_remote.announce(self._remote)
        os.environ[commit.VARIABLE] = commit.current_commit() or "unknown"
        workflow.register_envvars(job_remote.VARIABLE, commit.VARIABLE)
        workflow.localrules(*self._here)

    def resource(self, name: str, stage: Stage, default: Callable[[str], Any]) -> Any:
        """Return a resource of a stage's job, None where it is left to the settings of the plugin.

        `default` gives the profile's value. Raises FileNotFoundError for a job's key before its inputs are made, with
        which Snakemake asks again when they are.
        """
        if name == "job_key":
            return self.identity(stage)
        return job_resources(replace(stage, resources={}) if self.is_known(stage) else stage, default).get(name)

    def is_known(self, stage: Stage) -> bool:
        """Tell whether a stage whose inputs were made anew is as it was: its job only says so, on any machine."""
        entry = self._ledger.entries.get(stage.name)
        if entry is None or self._ledger.verdicts[stage.name].action is not Action.FOLLOW:
            return False
        try:
            return self.identity(stage) == identity_of(entry)
        except FileNotFoundError:
            return False

    def identity(self, stage: Stage) -> str | None:
        """Return the identity of a stage whose inputs are made, None when a file of the user's is missing.

        So a job is found again by what it does, and its checkpoints belong to nothing else.
        """
        made = {}
        for name in self._ledger.graph.upstream[stage.name]:
            marker = markers.marker_path(self._folder, self._ledger.graph.stages[name].artifact)
            made[name] = markers.read_marker(self._folder, self._ledger.graph.stages[name].artifact)
            if made[name] is None:
                raise FileNotFoundError(errno.ENOENT, "not made yet", str(marker))
        recorded = recorded_outs(made)
        with Fingerprints() as fingerprints:
            expected = expected_entry(
                stage,
                lambda path: recorded[path]["md5"] if path in recorded else fingerprints.of(path),
                self._sections,
                recorded,
            )
        return expected and identity_of(expected)


def other_number_of_gpus(stage: Stage, profiles: str | None) -> str | None:
    """Return why a stage cannot have the GPUs that its run asks for; None when it can, or when it is not known.

    `profiles` is the instance type of runs that name none.
    """
    asked, instance = stage.resources.get("gpus_per_node"), stage.resources.get("instance_type", profiles)
    has = 0 if is_cpu(instance) else ranks(instance, 1) if instance else None
    if asked is None or has is None or asked == has:
        return None
    return (
        f"{stage.name}: resources.gpus_per_node: {asked}, and an {instance} has {has}, all of which a job gets: take "
        "it out, or choose another instance_type"
    )


def job_resources(stage: Stage, default: Callable[[str], Any]) -> dict[str, Any]:
    """Return the resources of a stage's job but for its key: what its run asks for, else the profile's."""
    asked = stage.resources
    found = {name: asked.get(name, default(name)) for name in ASKED}
    types = found["instance_type"]
    types = types.split(",") if isinstance(types, str) else types or []
    found["instance_type"] = ",".join(types) or None
    if len(types) > 1:  # shards of a checkpoint fit one number of ranks
        count = found["instance_count"]
        found["instance_ranks"] = ",".join(str(ranks(name.strip(), count) or 0) for name in types)
    spot = bool(found["spot"])
    if not spot:
        found["max_wait"] = asked.get("max_wait")  # the profile's is for spot capacity
    elif "keep_alive" not in asked:
        found["keep_alive"] = None  # spot capacity knows no warm pools
    tags = {"heirloom:stage": stage.name} | asked.get("tags", {})
    found["tags"] = ",".join([*filter(None, [default("tags")]), *(f"{key}={value}" for key, value in tags.items())])
    found["checkpoints"] = int(stage.has_ranks)  # work in progress survives a lost host, a stopped job, a new one
    found["record"] = str(COSTS / f"{stage.name}.json")
    recorded = [RECORDS / f"{stage.name}.json", *([THROUGHPUT / f"{stage.name}.csv"] if stage.kind == "train" else [])]
    found["return_files"] = ",".join([*map(str, recorded), *stage.products])
    if (found["instance_count"] or 1) > 1:
        found["worker_command"] = f"python workflow/pipeline join {stage.name}"
    return {name: int(value) if isinstance(value, bool) else value for name, value in found.items()}
