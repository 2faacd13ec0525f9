"""The jobs that run, a line each, in the columns that a terminal has."""

from collections.abc import Sequence
from typing import NamedTuple

from snakemake_logger_plugin_heirloom.job import Job
from snakemake_logger_plugin_heirloom.speech import INDENT, clock, duration

FULL, EMPTY = "━", "─"
BAR = range(8, 41)
"""Columns of a bar; where there are fewer, numbers stand alone."""
SHORTEST_NAME = 16
GAP = "  "
MARGIN = 5
"""Columns at the right: a terminal writes `^C` there, perhaps twice, and a line that it wraps would stay."""


class BoardRow(NamedTuple):
    """A line: text, the columns of the bar that are full and that are empty, text."""

    before: str
    full: int
    empty: int
    after: str


def board(jobs: Sequence[Job], columns: int) -> list[BoardRow]:
    """Return a line a job: name, bar, how far, time left. Each leaves the margin free.

    Numbers are shown whole, names are cut; in very few columns the numbers at the end are cut, too.
    """
    numbers = [numbers_of(job) for job in jobs]
    widths = [max(map(len, column)) for column in zip(*numbers, strict=True)]
    after = [GAP.join(text.rjust(width) for text, width in zip(row, widths, strict=True) if width) for row in numbers]
    columns -= MARGIN
    room = columns - len(INDENT) - max(map(len, after), default=0) - len(GAP)
    indent, room = (INDENT, room) if room >= SHORTEST_NAME else ("", room + len(INDENT))
    longest = max((len(job.name) for job in jobs), default=0)
    name_width = min(max(SHORTEST_NAME, min(longest, room)), max(1, columns))
    bar = 0
    if any(job.log and job.log.progress for job in jobs) and room - len(GAP) - BAR[0] >= SHORTEST_NAME:
        name_width = min(longest, room - len(GAP) - BAR[0])
        bar = min(BAR[-1], room - len(GAP) - name_width)
    rows = []
    for job, text in zip(jobs, after, strict=True):
        progress = job.log.progress if job.log else None
        full = round(bar * progress.done / progress.total) if progress else 0
        before = indent + cut(job.name, name_width).ljust(name_width) + (GAP if bar else "")
        blank = "" if progress else " " * bar
        text = f"{blank}{GAP}{text}".rstrip()[: max(0, columns - len(before) - (bar if progress else 0))]
        rows.append(BoardRow(before, full, bar - full if progress else 0, text))
    return rows


def numbers_of(job: Job) -> tuple[str, str]:
    """Return how far a job is, and its time left; where that is not known, since when it runs."""
    progress = job.log.progress if job.log else None
    left = progress.left if progress else None
    return str(progress or ""), duration(int(job.seconds)) if left is None else f"{clock(left)} left"


def cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"
