"""The disk of a stage's machine and the bytes that go over the network: what it reads, makes, and keeps on the way.

What is recorded in dvc.lock has its own size; a model or rows that are not here yet have that of the formulas. Answers,
scores, metrics and a base's scores are far smaller than the model that makes them, and are not counted before they are
recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from heirloom.config.run import Run
from heirloom.estimates.model_shape import ModelShape
from heirloom.estimates.setups import Hosts, training_setup
from heirloom.estimates.stored_bytes import resuming_state, saved_model, saved_rows, saves
from heirloom.estimates.training_memory import TrainingSetup
from pipeline.graph import Stage
from pipeline.ledger import Ledger

Shape = tuple[ModelShape, int] | str
"""A model's shape and the bytes of a saved weight, or why they are not known."""


@dataclass(frozen=True)
class Storage:
    """Bytes: the disk that the first machine needs, and those that come to all machines and go from them."""

    disk: float
    download: float = 0.0
    upload: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether anything goes over the network."""
        return self.download > 0 or self.upload > 0


@dataclass(frozen=True)
class Kept:
    """Checkpoints for resuming: bytes of one, how many are written, and the most that lie beside each other."""

    state: float
    written: int
    beside: int


NOTHING_KEPT = Kept(0.0, 0, 0)


class Sizes:
    """The bytes of artifacts: recorded ones as dvc.lock has them, models and rows that are to come by their shape."""

    def __init__(self, ledger: Ledger, shape_of: Callable[[Run], Shape], rows_of: Callable[[str, Shape], Any]) -> None:
        """`shape_of` a run's model; `rows_of` a dataset under a model's vocabulary, or why they are not known."""
        self.project = ledger.project
        self.shape_of, self.rows_of = shape_of, rows_of
        self.trained: dict[str, float | None] = {}
        """Bytes of runs' checkpoints that were asked for: each is read by several stages."""
        self.recorded = {
            out["path"]: out["size"] for entry in ledger.entries.values() for out in entry["outs"] if "size" in out
        }

    def of(self, path: str, run: Run) -> float | None:
        """Return the bytes of what a stage of a run reads or makes; None where they are not known."""
        if path in self.recorded:
            return self.recorded[path]
        folder, name = PurePath(path).parts[0], PurePath(path).name
        shape = self.shape_of(run)
        if folder == "data" and not name.startswith("."):
            dataset = name if name in self.project.datasets else run.dataset  # packed: the run's own
            found = self.rows_of(dataset, shape)
            return None if isinstance(found, str) else saved_rows(found.tokens, self.project.kind(dataset))
        if folder == "models":
            known = not isinstance(shape, str) and name == self.project.root_model(run.name)
            return saved_model(*shape) if known else None
        if folder == "checkpoints":
            if name not in self.trained:
                self.trained[name] = trained_model(self.project.runs[name], self.shape_of(self.project.runs[name]))
            return self.trained[name]
        return 0.0


def trained_model(run: Run, shape: Shape) -> float | None:
    """Return the bytes of a run's checkpoint: the whole model, an adapter alone, or both."""
    if isinstance(shape, str):
        return None
    setup = training_setup(run, *shape, ranks=1, longest=1)
    if run.peft is None:
        return saved_model(shape[0], setup.d)
    return saved_model(*shape, adapter=setup.adapter, whole=not run.writes_adapter)


def kept_for_resuming(run: Run, setup: TrainingSetup, steps: int | None) -> Kept | None:
    """Return what a training of so many steps keeps, None where nobody knows them; a new checkpoint is written before
    the oldest is deleted.
    """
    if steps is None:
        return None
    written = saves(steps, run.tracking.save_steps)
    return Kept(resuming_state(setup), written, min(written, run.tracking.save_total_limit + 1))


def storage(stage: Stage, hosts: Hosts, size_of: Callable[[str], float | None], kept: Kept) -> Storage | None:
    """Return the storage of a stage; None where the size of something it reads or makes is not known.

    `size_of`: path → bytes. Only SageMaker's jobs move bytes: each of their hosts fetches what the stage reads, and S3
    gets each checkpoint for resuming; elsewhere machines share the clone's disk.
    """
    read = [size_of(path) for paths in stage.inputs.values() for path in paths]
    made = [size_of(path) for path in stage.products]
    if None in read or None in made:
        return None
    disk = sum(read) + sum(made) + kept.state * kept.beside / hosts.count
    if not hosts.is_instance:
        return Storage(disk)
    return Storage(disk, sum(read) * hosts.count, sum(made) + kept.state * kept.written)
