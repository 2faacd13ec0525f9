"""The bytes of what stages read and write: models, rows, trained checkpoints, checkpoints for resuming."""

import math

from heirloom.estimates.model_shape import ModelShape
from heirloom.estimates.training_memory import TrainingSetup

ADAPTER = 4
"""Bytes of a weight in an adapter's file: peft keeps adapters in 32 bits."""
ID = 4
"""Bytes of a token in a processed dataset (heirloom/data/dataset_storage.py)."""
TWICE = ("chat", "seq2seq")
"""Kinds of rows that have labels beside their tokens."""


def saved_model(shape: ModelShape, saved: int, adapter: int | None = None, whole: bool = True) -> float:
    """Return the bytes of a model's files, `saved` a weight; of an adapter's, with or without the whole model."""
    return (shape.parameters * saved if whole else 0) + (adapter or 0) * ADAPTER


def saved_rows(tokens: int, kind: str) -> float:
    """Return the bytes of the training rows of a processed dataset of a kind; held-out ones are not counted."""
    return tokens * ID * (2 if kind in TWICE else 1)


def resuming_state(setup: TrainingSetup) -> float:
    """Return the bytes of one checkpoint for resuming, the parts of all hosts together.

    DeepSpeed writes 32-bit weights and Adam's moments, and but for ZeRO-3 the trained weights as they are computed
    with; without it transformers writes the trained weights and the moments in their own precision.
    """
    trained = setup.shape.parameters if setup.adapter is None else setup.adapter
    if not setup.settings.present:
        return 3 * trained * setup.d
    return trained * (12 + (0 if setup.settings.stage == 3 else setup.d)) if setup.d == 2 else 3 * trained * setup.d


def saves(steps: int, save_steps: int) -> int:
    """Return how many checkpoints for resuming a training of so many steps writes; the last step always has one.

    With `save_minutes` there may be more: how many depends on the time of a step.
    """
    return math.ceil(steps / save_steps)
