"""The plan's rows are those that a training takes: packed and joined ones are fewer, and as long as they may be."""

import pytest

from heirloom.estimates.setups import trained_rows
from heirloom.estimates.steps import Rows

COUNTED = Rows(1000, 16_000, 40, exact=True)  # of at most 128 tokens by the dataset's file


@pytest.mark.parametrize(
    ("run", "keys", "expected", "attended"),
    [
        ("sft", "", COUNTED, 16),
        ("sft", "packing: true", Rows(125, 16_000, 128, exact=False), 16),
        ("sft", "packing: true, seq_length: 160", Rows(100, 16_000, 160, exact=False), 16),
        ("sft", "packing: true, packing_strategy: wrapped", Rows(125, 16_000, 128, exact=True), 16),
        ("pretrain", "seq_length: 150", Rows(106, 15_900, 150, exact=True), 150),
    ],
)
def test_rows_as_they_are_trained_on(workplace, run, keys, expected, attended):
    more = "".join(f"  {key}\n" for key in filter(None, keys.split(", ")))
    workplace.change(f"config/runs/{run}.yaml", "training:\n", f"training:\n{more}")
    project = workplace.load()
    assert trained_rows(project.runs[run], project, COUNTED) == (expected, attended)
