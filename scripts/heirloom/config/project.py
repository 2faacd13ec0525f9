"""The whole configuration, checked before any job starts, without importing a training library."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.config.broken_files import broken_runs, names_in, without_broken
from heirloom.config.dataset import Dataset
from heirloom.config.files import read_files
from heirloom.config.folders import named_files
from heirloom.config.model import Model
from heirloom.config.parsing.mistakes import ConfigErrors, Mistake, did_you_mean
from heirloom.config.references import References
from heirloom.config.run import Run
from heirloom.config.sweeps.members import Member
from heirloom.errors import HeirloomError

__all__ = ["ConfigErrors", "Mistake", "Project", "load_project"]


@dataclass(frozen=True)
class Project:
    """All datasets, models and runs of config/ by name, free of mistakes."""

    datasets: dict[str, Dataset]
    models: dict[str, Model]
    runs: dict[str, Run]
    warnings: list[Mistake] = field(default_factory=list)
    """What is allowed but may surprise in files that an enabled run stands on: a hub revision that is not pinned."""
    dormant_warnings: list[Mistake] = field(default_factory=list)
    """The same in the other files."""
    mistakes: list[Mistake] = field(default_factory=list)
    """What is wrong in files that were left out, with all that names them."""
    broken_runs: set[str] = field(default_factory=set)
    """The runs that were left out."""
    members: dict[str, Member] = field(default_factory=dict)
    """The runs that sweeps stand for, by the paths of their files, written or not."""
    unknown_members: set[str] = field(default_factory=set)
    """The sweeps of which nobody knows the runs, as something is wrong with them."""

    def check_known(self, run: str) -> None:
        """Raise HeirloomError for a run that is not there, ConfigErrors for one that has mistakes."""
        if run in self.broken_runs or (run not in self.runs and run in named_files(Path(), "runs")):
            raise ConfigErrors(self.mistakes)
        if run not in self.runs:
            raise HeirloomError(f"no run is called {run}; {did_you_mean(run, self.runs, 'there are')}")

    def kind(self, dataset: str) -> str:
        """Return the kind of a dataset's rows: text, chat, preference or seq2seq."""
        mixture = self.datasets[dataset].mixture
        if mixture is not None:
            return self.kind(next(iter(mixture.datasets)))
        return self.datasets[dataset].rows_kind

    def root_model(self, run: str) -> str:
        """Return the model at the beginning of a run's chain of bases."""
        base = self.runs[run].base
        return self.root_model(base) if base in self.runs else base

    def files_in_use(self) -> set[str]:
        """Return the files that enabled runs stand on: their own, and those of bases, datasets and tokenizers."""
        used: set[str] = set()
        pending = [run for run in self.runs.values() if run.enabled]
        while pending:
            file = pending.pop()
            if file.path not in used:
                used.add(file.path)
                pending += self.named_in(file)
        return used

    def named_in(self, file: Dataset | Model | Run) -> list[Dataset | Model | Run]:
        """Return the files that one file names."""
        known = {"runs": self.runs, "models": self.models, "datasets": self.datasets}
        return [next(known[kind][name] for kind in kinds if name in known[kind]) for kinds, name in names_in(file)]


def load_project(
    root: Path, cache: Path | None, strict: bool = True, found_elsewhere: Iterable[Mistake] = ()
) -> Project:
    """Read and check config/ below `root`; `cache` is a folder for what was found in unchanged files, or None.

    `found_elsewhere` are mistakes in its files that only show where they are used.

    Raises ConfigErrors with every mistake at once, each with its file, line, key and remedy; where it is not `strict`
    the files with mistakes, and those that name them, are left out, and the mistakes are in the project.
    """
    files = read_files(Path(root), cache)
    mistakes = [*files.mistakes, *files.mistakes_of(References(files).problems())]
    mistakes += found_elsewhere
    if mistakes and strict:
        raise ConfigErrors(mistakes)
    whole = without_broken(files, mistakes) if mistakes else files
    project = Project(
        whole.datasets,
        whole.models,
        whole.runs,
        mistakes=ConfigErrors(mistakes).mistakes,
        broken_runs=broken_runs(files, mistakes, whole),
        members={path: member for path, member in files.members.items() if member.name in whole.runs},
        unknown_members=files.unknown_members,
    )
    in_use = project.files_in_use()
    for member in (member for path, member in files.members.items() if path in in_use):
        in_use |= {member.sweep, member.base}
    for warning in whole.mistakes_of(References(whole).warnings()):
        warnings = project.warnings if warning.file in in_use else project.dormant_warnings
        warnings.append(warning)
    return project
