"""The checkpoint of a run, to be used outside of the workflow: exported or served. It must be here, and a model."""

from dataclasses import dataclass
from pathlib import Path

from heirloom.config.project import load_project
from heirloom.config.run import Run
from heirloom.errors import HeirloomError
from pipeline.graph import attention_of, checkpoint_of, model_folders, trust_of
from pipeline.ledger import read_lock


@dataclass(frozen=True)
class TrainedRun:
    """A run whose checkpoint is here, and how it is loaded."""

    run: Run
    checkpoint: Path
    """Of a run without a trainer the model that it stands for."""
    trust_remote_code: bool
    attention: str | None
    """An attn_implementation of transformers, that of the run's answers; None: transformers' own choice."""


def trained_run(name: str) -> TrainedRun:
    """Return a run of the project in this folder. Raises HeirloomError where there is no such run, or no checkpoint.

    Mistakes in files that the run does not stand on are none of its own.
    """
    project = load_project(Path(), None, strict=False)
    project.check_known(name)
    run = project.runs[name]
    for folder in model_folders(name, project):
        if not Path(folder).is_dir():
            raise HeirloomError(absent(folder, run))
    attention = attention_of("generation", run, project) if run.generation is not None else None
    return TrainedRun(run, Path(checkpoint_of(name, project)), trust_of(run, project) is not None, attention)


def absent(folder: str, run: Run) -> str:
    """Return what to do where a folder of weights is not here: made once, it is fetched, else it is to be made."""
    kind, _, subject = folder.partition("/")
    stage = f"{'train' if kind == 'checkpoints' else 'model'}-{subject}"
    if stage in read_lock():
        return f"{folder} is recorded and not in this folder: `dvc pull {stage}` brings it"
    first = "" if run.enabled else f"set enabled: true in {run.path}, and "
    return f"{folder} was never made: {first}`snakemake --config runs={run.name}` makes it and what it stands on"
