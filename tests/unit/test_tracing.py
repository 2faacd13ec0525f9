"""Which line of a folder of generations is meant."""

import pytest

from heirloom.errors import HeirloomError
from pipeline.provenance.trace import find_line

ROWS = [{"row_id": row, "sample": sample} for row in ("t:1", "t:2") for sample in (0, 1)]


def test_a_row_a_sample_of_it_or_a_line():
    assert find_line(ROWS, "t:2", None, "generations/x") == find_line(ROWS, "t:2", 0, "generations/x") == 3
    assert find_line(ROWS, "t:2", 1, "generations/x") == 4
    assert find_line(ROWS, "2", None, "generations/x") == 2


@pytest.mark.parametrize(
    ("wanted", "sample", "message"),
    [
        ("t:2", 99, "generations/x has 2 answers to t:2: give --sample from 0"),
        ("2", 99, "--sample 99: line 2 is one answer by itself: leave --sample out"),
        ("5", None, "generations/x has no row 5: give a row_id, for example t:1, or a line from 1 to 4"),
    ],
)
def test_a_line_that_is_not_there_is_told(wanted, sample, message):
    with pytest.raises(HeirloomError, match=message):
        find_line(ROWS, wanted, sample, "generations/x")
