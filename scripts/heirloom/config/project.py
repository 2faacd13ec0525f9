"""The whole configuration, checked before any job starts, without importing a training library."""

from dataclasses import dataclass, field
from pathlib import Path

from heirloom.config.dataset import Dataset
from heirloom.config.files import read_files
from heirloom.config.mistakes import ConfigErrors, Mistake
from heirloom.config.model import Model
from heirloom.config.references import References
from heirloom.config.run import Run

__all__ = ["ConfigErrors", "Mistake", "Project", "load_project"]


@dataclass(frozen=True)
class Project:
    """All datasets, models and runs of config/ by name, free of mistakes."""

    datasets: dict[str, Dataset]
    models: dict[str, Model]
    runs: dict[str, Run]
    warnings: list[Mistake] = field(default_factory=list)
    """What is allowed but may surprise, such as a hub revision that is not pinned."""

    def kind(self, dataset: str) -> str:
        """Return the kind of a dataset's rows: text, chat or preference."""
        mixture = self.datasets[dataset].mixture
        if mixture is not None:
            return self.kind(next(iter(mixture.datasets)))
        return self.datasets[dataset].processing.rows_kind

    def root_model(self, run: str) -> str:
        """Return the model at the beginning of a run's chain of bases."""
        base = self.runs[run].base
        return self.root_model(base) if base in self.runs else base


def load_project(root: Path, cache: Path | None) -> Project:
    """Read and check config/ below `root`; `cache` is a folder for what was found in unchanged files, or None.

    Raises ConfigErrors with every mistake at once, each with its file, line, key and remedy.
    """
    files = read_files(Path(root), cache)
    references = References(files)
    mistakes = [*files.mistakes, *(files.mistake(*problem) for problem in references.problems())]
    if mistakes:
        raise ConfigErrors(mistakes)
    warnings = [files.mistake(*warning) for warning in references.warnings()]
    return Project(files.datasets, files.models, files.runs, warnings)
