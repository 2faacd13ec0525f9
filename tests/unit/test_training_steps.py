"""The plan's numbers of rows and steps against what really packs rows and counts steps."""

import random

import pytest
from datasets import Dataset

from heirloom.estimates.steps import Rows, joined, packed, steps_of
from heirloom.training.batches.packing import join, pack

LENGTHS = [random.Random(seed).choice((5, 9, 17, 30, 31, 58, 64)) for seed in range(400)]
TOKENS = sum(LENGTHS)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return Dataset.from_list([{"input_ids": [7] * length, "labels": [7] * length} for length in LENGTHS])


@pytest.mark.parametrize("strategy", ["bfd", "wrapped", "bfd_split"])
def test_packed_rows_are_about_as_many_as_the_plan_says(rows, tmp_path, strategy):
    pack(rows, 64, strategy, tmp_path / "packed.arrow")
    real = Dataset.from_file(str(tmp_path / "packed.arrow"))
    told = packed(Rows(len(rows), TOKENS, 64, exact=True), 64, strategy)
    assert told.tokens == TOKENS and told.longest == 64
    assert told.exact == (strategy == "wrapped")
    assert told.rows == len(real) if told.exact else told.rows <= len(real) <= 1.1 * told.rows


def test_joined_rows_are_as_many_as_the_plan_says(rows, tmp_path):
    join(rows, 48, False, tmp_path / "joined.arrow")
    real = Dataset.from_file(str(tmp_path / "joined.arrow"))
    told = joined(Rows(len(rows), TOKENS, 64, exact=True), 48)
    assert (told.rows, told.tokens, told.exact) == (len(real), 48 * len(real), True)


def test_packed_rows_take_fewer_steps_of_the_same_tokens():
    keys = {"per_device_train_batch_size": 2, "global_batch_size": 8, "num_train_epochs": 1}
    rows = Rows(1000, 16_000, 40, exact=True)
    plain, few = steps_of(rows, keys, 2), steps_of(packed(rows, 160, "bfd"), keys, 2)
    assert (plain.steps, plain.tokens, plain.exact) == (125, 16_000, True)
    assert (few.steps, few.tokens, few.exact) == (13, 16_000, False)
