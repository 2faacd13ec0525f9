"""What a stage is, and what its description is made of."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from heirloom.code_closure import PROJECT, SCRIPTS, code_closure, module_files
from heirloom.config.sweeps.members import fit
from pipeline.graph.remembered_imports import remembered_imports

KINDS = (
    "download", "tokenizer", "model", "process", "pack", "reference", "rewards", "train", "generate", "baseline",
    "scores", "evaluate", "harness", "gate", "report",
)  # fmt: skip
"""Each is a rule of the same name."""
SHARED = ("download", "tokenizer", "model", "process", "pack", "reference", "baseline", "scores")
"""Those whose stages belong to no single run."""
CHECKED = "workflow/checked.txt"
"""What `check-config` of dvc.yaml stands for, and what `digest-code` waits for."""
CODE_FOLDER = "workflow/code/"
"""Where `digest-code` of dvc.yaml keeps one small file a program: digests of what it runs (pipeline.code)."""


@dataclass(frozen=True)
class Stage:
    """One unit of work: what DVC executes and records, and what one Snakemake job asks for."""

    kind: str
    subject: str
    cmd: str
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Artifacts of other stages that it reads, by the name that the rule gives them."""
    program: str = ""
    """Its script; the script and what it imports are the stage's code."""
    files: tuple[str, ...] = ()
    """Everything else it reads: DeepSpeed files, chat templates, the user's own functions and data."""
    params: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Config file → the top-level sections that are present and belong to the stage's identity."""
    outs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: dict[str, dict[str, str]] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    """What the run asks of a machine; never identity."""
    first_run: str | None = None
    """Of a stage that several runs share: the first of them by name, whose `resources:` it has."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.subject}"

    @functools.cached_property
    def deps(self) -> tuple[str, ...]:
        """All paths it reads, sorted as DVC sorts them."""
        made = (path for paths in self.inputs.values() for path in paths)
        return tuple(sorted({*([code_file(self.program)] if self.program else []), *self.files, *made}))

    @property
    def code(self) -> tuple[str, ...]:
        """The script and the project modules that it imports, as paths; `deps` has one file of digests for all."""
        return code(self.program) if self.program else ()

    @functools.cached_property
    def products(self) -> tuple[str, ...]:
        """All paths it makes, sorted as DVC sorts them."""
        return tuple(sorted((*self.outs, *self.metrics, *self.plots)))

    @property
    def is_light(self) -> bool:
        """Whether it takes seconds on one core, though others of its kind take a GPU: rewards without a model."""
        return self.kind == "rewards" and "reward_models" not in self.inputs

    @property
    def gpus(self) -> int | None:
        """GPUs that it takes of each machine; None: all of them."""
        if self.kind == "rewards":
            return 0 if self.is_light else 1  # one process tries them
        return self.resources.get("gpus_per_node")

    @property
    def of_run(self) -> bool:
        """Whether its subject is a run, rather than a dataset or a model, which may have the same name."""
        return self.kind not in SHARED

    @property
    def run(self) -> str | None:
        """The run that it is counted with: its own, or the first that wants it; None for datasets and models."""
        return self.subject if self.of_run else self.first_run

    @property
    def has_ranks(self) -> bool:
        """Whether it runs under torchrun."""
        return " torchrun " in self.cmd

    @property
    def artifact(self) -> str:
        """The path that stands for the stage in a rule: its first product."""
        return (self.outs or self.metrics)[0]


def each_once(runs: Iterable, output_of: Callable[[Any], str | None]) -> Iterator[tuple[Any, str]]:
    """Yield what several runs may share, each once: its path, and the first run by name that wants it.

    `output_of`: what a run wants; None for nothing.
    """
    seen: set[str] = set()
    for run in sorted(runs, key=lambda run: run.name):
        output = output_of(run)
        if output is not None and output not in seen:
            seen.add(output)
            yield run, output


def shared_name(model: str, rows: str, command: str) -> str:
    """Return MODEL-on-ROWS-xxxxxxxx, the name of what a model gives to rows for all runs that want it alike.

    `model`, `rows`: names; `command`: without an output, all that it follows from.
    """
    return f"{model}-on-{fit(rows)}-{hashlib.blake2b(command.encode(), digest_size=4).hexdigest()}"


def closure(file: Path) -> list[str]:
    """Return a source file and the project modules that it imports, relative to the project; what was parsed for it is
    remembered for the next command.
    """
    found = [str(path.relative_to(PROJECT)) for path in code_closure(file, remembered_imports().of)]
    remembered_imports().save()
    return found


@functools.cache
def code(script: str) -> tuple[str, ...]:
    """Return the script and the project modules that it imports, as paths relative to the project."""
    return tuple(closure(PROJECT / script))


def code_file(program: str) -> str:
    """Return the file that stands for the code of a program among the inputs of its stages."""
    return f"{CODE_FOLDER}{PurePath(program).stem}.txt"


def program_of(path: str) -> str | None:
    """Return the program that a path among a stage's inputs stands for, None for any other input."""
    return f"scripts/{PurePath(path).stem}.py" if path.startswith(CODE_FOLDER) else None


def user_code(name: str, program: str) -> list[str]:
    """Return the files behind a user's `module:function` that are not code of the program anyway.

    None for a built-in name.
    """
    module, _, function = name.partition(":")
    if not function:
        return []
    found = {path for file in module_files(module, (SCRIPTS, PROJECT)) for path in closure(file)}
    return sorted(found - set(code(program)))


def present(subject, *sections: str) -> list[str]:
    """Return those of the sections that a config file has."""
    return [name for name in sections if name in subject.model_fields_set and getattr(subject, name) is not None]
