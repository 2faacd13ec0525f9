"""How many rows raw data files hold, about and fast: to say how far work on them is, never to decide anything."""

import zlib
from collections.abc import Iterable
from pathlib import Path

from heirloom.data.raw.raw_files import RawFile, suffix_of
from heirloom.data.raw.text_files import open_bytes

CHUNK = 1 << 22
LINES = {".jsonl": 0, ".ndjson": 0, ".txt": 0, ".csv": 1, ".tsv": 1}
"""Formats whose rows are lines → lines before the first row."""


def count_rows(files: Iterable[RawFile], first_rows: int | None = None) -> int | None:
    """Return the number of rows, None when a file does not tell it before it is read.

    Empty lines count, and each line of a CSV value that has several. `first_rows`: at most so many of each file.
    """
    total = 0
    for file in files:
        try:
            rows = rows_in(file.path)
        except (OSError, EOFError, zlib.error):
            return None  # the reader of its rows says what is wrong with it
        if rows is None:
            return None
        total += rows if first_rows is None else min(rows, first_rows)
    return total


def rows_in(path: Path) -> int | None:
    suffix = suffix_of(path)
    if suffix in LINES:
        return max(0, lines_in(path) - LINES[suffix])
    if suffix == ".parquet":
        return rows_of_parquet(path)
    return None


def lines_in(path: Path) -> int:
    lines, last = 0, b"\n"
    with open_bytes(path) as file:
        while chunk := file.read(CHUNK):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def rows_of_parquet(path: Path) -> int | None:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(path).num_rows
    except pyarrow.ArrowException:
        return None
