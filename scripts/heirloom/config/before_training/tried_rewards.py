"""Which trainings have their rewards tried before them, on what, and the keys that decide it."""

from pathlib import Path
from typing import Any

from pydantic import Field

from heirloom.config.arguments.library_arguments import argument_schemas
from heirloom.config.sections.training import Reward, TrainingSection
from heirloom.config.trainers.spec import TrainerSpec
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json

TRIED = 256
"""Prompts that are tried at the most, evenly spaced over the dataset."""
KINDS = ("reference", "wrong", "empty")
"""Answers to each of them: the row's own, that of another prompt, none."""


class TriedSection(TrainingSection):
    """`training:` as far as it decides what rewards give; nothing is trained, so no step has a batch."""

    global_batch_size: int = 1
    rewards: list[Reward] = Field(min_length=1)
    max_completion_length: int = Field(ge=1)


def longest_answer(trainer: TrainerSpec, training: TrainingSection) -> int:
    """Return the tokens of the longest answer, max_completion_length: what the reward `length` is a share of."""
    default = argument_schemas(trainer.name)["max_completion_length"]["default"]
    return training.passed_through.get("max_completion_length", default)


def deciding_keys(trainer: TrainerSpec, training: TrainingSection) -> dict[str, Any]:
    """Return the keys of `training:` that decide what the rewards give; a reward model's batch is one of them."""
    keys = {
        "rewards": [reward.model_dump(exclude_defaults=True) for reward in training.rewards or ()],
        "max_completion_length": longest_answer(trainer, training),
    }
    batch = {"per_device_train_batch_size": training.per_device_train_batch_size}
    return keys | (batch if training.reward_models else {})


def check_tried(file: Path, trainer: TrainerSpec, training: TrainingSection, dataset: str) -> None:
    """Raise HeirloomError unless a file of scripts/try_rewards.py is of a training's rewards and its dataset.

    `dataset`: its name. That its rows are the same, and the code of own rewards, the ledger knows.
    """
    told = read_json(file)
    others = []
    if told.get("training") != deciding_keys(trainer, training):
        others.append("other rewards than those in training.rewards")
    if told.get("dataset") != dataset:
        others.append(f"another dataset than {dataset}")
    if others:
        raise HeirloomError(
            f"{file}: tells of {' and '.join(others)}: try these by scripts/try_rewards.py, or leave --tried_rewards "
            "out, and the training tries them"
        )
