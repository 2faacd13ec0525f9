"""Values of each key of `training:` that the configuration takes are taken by the libraries, to the first step."""

import dataclasses
import importlib

import pytest
import torch
from test_training_mistakes import command
from transformers import Trainer, get_scheduler

from heirloom.config.arguments.library_arguments import argument_problems, argument_schemas
from heirloom.config.arguments.refused_arguments import refusal
from heirloom.config.keys.reward_keys import reward_problems
from heirloom.config.keys.training_keys import training_problems
from heirloom.config.sections.training import TrainingSection
from heirloom.config.trainers.table import TRAINERS
from heirloom.errors import HeirloomError
from heirloom.training.inputs.training_data import TrainingData
from heirloom.training.training_arguments import trainer_arguments

VALUES = (-1, 0, 1, 0.5, -0.5, 1e9, 10**9, "", "x", [], ["x"], {}, {"x": 1}, True)
STEPS = 5
BY_MACHINE = ("training.fp16 needs a GPU", "training.activation_offloading needs a GPU", "--tf32 requires")
BY_MACHINE += ("training.use_liger_kernel needs", "training.optim: ")
"""Beginnings of what depends on the machine and its packages, which no configuration can know."""


@pytest.mark.parametrize("name", TRAINERS)
def test_what_the_configuration_takes_the_libraries_take(tmp_path, name):
    module, _, kind = TRAINERS[name].arguments_class.rpartition(".")
    kind = getattr(importlib.import_module(module), kind)
    taken, refused = 0, []
    rewards = {"rewards": [{"function": "exact_match"}]} if TRAINERS[name].rewarded else {}
    for key, schema in argument_schemas(name).items():
        done = name != "trainer" and key in argument_schemas("trainer")
        if done or refusal("training", key, argument_schemas(name)) or key in TrainingSection.model_fields:
            continue
        for value in (*VALUES, *schema.get("enum", ())):
            if list(argument_problems("training", name, {key: value})):
                continue
            section = section_with(key, value, **rewards)
            if any(place == f"training.{key}" for place, _ in training_problems(TRAINERS[name], section, None, None)):
                continue
            if any(place == "training.global_batch_size" for place, _ in reward_problems(TRAINERS[name], section)):
                continue
            taken += 1
            asked = dataclasses.replace(command(tmp_path), training=section)
            try:
                first_steps(kind, asked)
            except Exception as error:  # noqa: BLE001 - whatever a library says
                if not any(words in str(error) for words in BY_MACHINE):
                    refused.append((key, value, repr(error)[:200]))
    assert refused == []
    assert taken >= 1


def section_with(key, value, **more):
    length = {} if key in ("max_steps", "num_train_epochs") else {"max_steps": STEPS}
    plain = {"global_batch_size": 16, "per_device_train_batch_size": 4}
    needed = {"lr_scheduler_kwargs": {}}
    if value in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        needed = {"lr_scheduler_kwargs": {"min_lr": 0.0}}
    elif value == "warmup_stable_decay":
        needed = {"lr_scheduler_kwargs": {"num_decay_steps": 2}}
    return TrainingSection.model_validate({**plain, **length, **needed, **more, key: value})


def first_steps(kind, asked):
    """Make arguments, optimizer and schedule as a trainer does, and let them go a few steps."""
    args = trainer_arguments(kind, asked, TrainingData("chat", 64, train=None, test=None))
    model = torch.nn.Linear(2, 2)
    try:
        make, keys = Trainer.get_optimizer_cls_and_kwargs(args, model)
    except (ImportError, ValueError) as error:
        raise HeirloomError(f"training.optim: {error}") from error
    optimizer = make(model.parameters(), **keys)
    schedule = get_scheduler(
        args.lr_scheduler_type,
        optimizer,
        num_warmup_steps=args.get_warmup_steps(STEPS),
        num_training_steps=STEPS,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )
    for _ in range(STEPS):
        optimizer.step()
        schedule.step()
    assert all(group["lr"] == group["lr"] for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lr_scheduler_type": "greedy"}, "greedy follows the held-out loss; set eval_strategy: steps or epoch"),
        ({"adam_beta1": 1}, "expected less than 1, found 1"),
        ({"lr_scheduler_kwargs": "x"}, "expected keys and values, found a text; write {key: value}"),
        ({"optim_args": "x"}, "expected name=value, several with commas between; mend or delete it"),
        ({"loss_weights": [1.0, 2.0]}, "needs as many numbers as loss_type has losses, 1, found 2"),
        ({"max_new_tokens": 3}, "trl.DPOConfig 1.16.0 has no such key; known: "),
    ],
)
def test_what_they_would_refuse_late_is_told(arguments, said):
    ((_, problem),) = argument_problems("training", "dpo", arguments)
    assert problem.startswith(said)
