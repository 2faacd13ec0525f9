"""The schedules that the configuration knows are those of transformers, with their keys."""

import inspect

import pytest
import torch
from transformers import get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from heirloom.config.arguments.schedules import NEEDED, OF_HELD_OUT_LOSS, SCHEDULES, schedule_problems

OF_THE_TRAINER = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}


def test_each_schedule_has_the_keys_that_transformers_reads():
    found = {
        kind.value: set(inspect.signature(function).parameters) - OF_THE_TRAINER
        for kind, function in TYPE_TO_SCHEDULER_FUNCTION.items()
        if kind.value not in OF_HELD_OUT_LOSS
    }
    assert found == {name: set(keys) for name, keys in SCHEDULES.items()}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_is_taken_starts_and_one_that_lacks_a_key_does_not(name):
    def start(keys):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=9, scheduler_specific_kwargs=keys)

    keys = {key: 3 if key == "num_decay_steps" else 0.01 for key in NEEDED.get(name, ())[:1]}
    assert list(schedule_problems({"lr_scheduler_type": name, "lr_scheduler_kwargs": keys})) == []
    start(keys)
    if keys:
        assert list(schedule_problems({"lr_scheduler_type": name})) != []
        with pytest.raises((TypeError, ValueError)):
            start({})
