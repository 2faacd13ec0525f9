"""Process a dataset of the config outside of the workflow, to look at it: the same programs, the same rows."""

from pathlib import Path
from typing import Any

from heirloom.config.dataset import Dataset
from heirloom.config.folders import named_files
from heirloom.config.model import Model
from heirloom.config.parsing.mistakes import ConfigErrors, did_you_mean
from heirloom.config.project import Project, load_project
from heirloom.data.dataset_creation import create_dataset
from heirloom.data.datasets_by_hand import made_by
from heirloom.data.made_elsewhere import take_over
from heirloom.errors import HeirloomError
from heirloom.models.remote_code import as_flag


def find_dataset(root: Path, name: str) -> tuple[Project, Dataset]:
    """Return the config and the dataset of that name; mistakes in files that it does not need do not count.

    Raises HeirloomError when there is none, when it or what it names is broken, and for a mixture.
    """
    project = load_project(root, None, strict=False)
    if name not in project.datasets:
        known = named_files(root, "datasets")
        if name in known:
            raise ConfigErrors(project.mistakes)
        raise HeirloomError(f"there is no config/datasets/{name}.yaml; {did_you_mean(name, known, 'there are')}")
    dataset = project.datasets[name]
    if dataset.mixture is not None:
        parts = ", ".join(dataset.mixture.datasets)
        raise HeirloomError(f"{dataset.path}: is a mixture: look at what it mixes, {parts}")
    return project, dataset


def process(
    dataset: Dataset, project: Project, output: Path, work: Path, rows: int | None
) -> tuple[dict[str, Any], Path]:
    """Process a dataset into the folder `output`; return its statistics and the tokenizer's folder.

    `work` takes what is not here. With `rows` only so many of each raw file, of which none is held out or too bad.
    Raises HeirloomError as the stages' programs do.
    """
    tokenizer = tokenizer_of(project.models[dataset.tokenizer], project, work)
    raw = raw_rows(dataset, work)
    if dataset.is_processed_already:
        return take_over(raw, tokenizer, dataset.rows_kind, output), tokenizer
    section = dataset.processing
    if rows is not None:
        section = section.model_copy(update={"test_rows": None, "test_fraction": None, "bad_rows": 1.0})
    return create_dataset(raw, tokenizer, section, output, first_rows=rows), tokenizer


def raw_rows_here(dataset: Dataset) -> Path | None:
    """Return where a dataset's raw rows lie or the workflow has put them; None where they are still to be brought."""
    if dataset.source.local is not None:
        return Path(dataset.source.local)
    made = Path("data/raw") / dataset.name
    return made if made.is_dir() else None


def raw_rows(dataset: Dataset, work: Path) -> Path:
    """Return where a dataset's raw rows are: where they lie, where the workflow put them, or in `work`, made now."""
    if here := raw_rows_here(dataset):
        return here
    script = "generate_dataset.py" if dataset.source.generator else "download_dataset.py"
    return made_by(script, dataset.path, ["source"], work / f"raw-{dataset.name}")


def tokenizer_of(model: Model, project: Project, work: Path) -> Path:
    """Return where a model's tokenizer is: where the workflow has put it, or in `work`, made now."""
    made = Path("tokenizers") / model.name
    if made.is_dir():
        return made
    sections = [name for name in ("source", "tokenizer") if getattr(model, name) is not None]
    trained_on = model.tokenizer.train_on if model.tokenizer is not None else None
    raw = ("--raw", str(raw_rows(project.datasets[trained_on], work))) if trained_on is not None else ()
    return made_by("create_tokenizer.py", model.path, sections, work / "tokenizer", *raw, *as_flag())
