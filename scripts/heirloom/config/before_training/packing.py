"""Which trainings put several rows into one, and how."""

from heirloom.config.arguments.library_arguments import argument_schemas
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.spec import TrainerSpec

JOINED = "joined"
"""Rows of a text without their borders (`training.seq_length`); all other ways are TRL's packing strategies."""


def packing_strategy(trainer: TrainerSpec, training: TrainingSection) -> str | None:
    """Return how a training packs or joins its rows; None where it takes them as they are."""
    others = training.passed_through
    if trainer.packs_rows and others.get("packing") is True:
        return others.get("packing_strategy") or argument_schemas(trainer.name)["packing_strategy"]["default"]
    return JOINED if trainer.joins_rows and training.seq_length is not None else None
