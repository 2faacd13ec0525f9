"""What a program prints costs the launcher time that grows with its length only."""

from collections import deque

import pytest
from work_done import watchdog

from heirloom.launcher.processes import LONGEST_LINE, LastLines


def lines_of(*chunks: bytes) -> list[str]:
    lines: deque[str] = deque(maxlen=3)
    last = LastLines(lines)
    for chunk in chunks:
        last.add(chunk)
    last.end()
    return list(lines)


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb", b"c\n", b"\n"], ["a", "bc", ""]),
        ([b"1\n2\n3\n4\n5"], ["3", "4", "5"]),
        ([b"\xe2\x82", b"\xac\n", b"\xff"], ["€", "\ufffd"]),
        ([], []),
        ([b"open"], ["open"]),
        (
            [b"x" * LONGEST_LINE, b"end\n", b"y" * LONGEST_LINE * 3],
            ["x" * (LONGEST_LINE - 3) + "end", "y" * LONGEST_LINE],
        ),
    ],
)
def test_the_last_lines_are_remembered_and_of_a_long_one_its_end(chunks: list[bytes], lines: list[str]) -> None:
    assert lines_of(*chunks) == lines


def test_a_progress_bar_without_end_holds_nobody_up() -> None:
    """The attack: of 105 MB without a newline half was read after two minutes, and the ranks waited at the pipe."""
    chunk = (b"\rstep 123 of 456" * 5000)[:65536]
    with watchdog():
        assert len(lines_of(*[chunk] * 1600)[0]) == LONGEST_LINE
