"""What a stage is, and what its description is made of."""

import functools
from dataclasses import dataclass, field
from typing import Any

from heirloom.code_closure import PROJECT, SCRIPTS, code_closure, module_files
from pipeline.graph.remembered_imports import remembered_imports

KINDS = (
    "download", "tokenizer", "model", "process", "train", "generate", "baseline", "evaluate", "harness", "report",
)  # fmt: skip
"""Each is a rule of the same name."""
CHECKED = "workflow/checked.txt"
"""What `check-config` of dvc.yaml stands for, and what every stage that reads no artifact waits for."""


@dataclass(frozen=True)
class Stage:
    """One unit of work: what DVC executes and records, and what one Snakemake job asks for."""

    kind: str
    subject: str
    cmd: str
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Artifacts of other stages that it reads, by the name that the rule gives them."""
    files: tuple[str, ...] = ()
    """Everything else it reads: code, DeepSpeed files, chat templates, the user's own data."""
    params: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Config file → the top-level sections that are present and belong to the stage's identity."""
    outs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: dict[str, dict[str, str]] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    """What the run asks of a machine; never identity."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.subject}"

    @functools.cached_property
    def deps(self) -> tuple[str, ...]:
        """All paths it reads, sorted as DVC sorts them."""
        return tuple(sorted({*self.files, *(path for paths in self.inputs.values() for path in paths)}))

    @functools.cached_property
    def products(self) -> tuple[str, ...]:
        """All paths it makes, sorted as DVC sorts them."""
        return tuple(sorted((*self.outs, *self.metrics, *self.plots)))

    @property
    def has_ranks(self) -> bool:
        """Whether it runs under torchrun."""
        return " torchrun " in self.cmd

    @property
    def artifact(self) -> str:
        """The path that stands for the stage in a rule: its first product."""
        return (self.outs or self.metrics)[0]


@functools.cache
def code(script: str) -> tuple[str, ...]:
    """Return the script and the project modules that it imports, as paths relative to the project."""
    return tuple(str(path.relative_to(PROJECT)) for path in code_closure(PROJECT / script, remembered_imports().of))


def user_code(name: str) -> list[str]:
    """Return the files behind a user's `module:function`; none for a built-in name."""
    module, _, function = name.partition(":")
    if not function:
        return []
    files = list(module_files(module, (SCRIPTS, PROJECT)))
    names_of = remembered_imports().of
    return sorted({str(path.relative_to(PROJECT)) for file in files for path in code_closure(file, names_of)})


def present(subject, *sections: str) -> list[str]:
    """Return those of the sections that a config file has."""
    return [name for name in sections if name in subject.model_fields_set and getattr(subject, name) is not None]
