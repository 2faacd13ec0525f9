"""Read raw data files row by row, whatever their format, in constant memory.

.jsonl .ndjson      one JSON object a line
.json               one array of objects (read as a stream), or objects one after another
.csv .tsv           a header line, then rows; every value is text
.parquet            row groups
.arrow              shards of a folder that `datasets` saved
.txt                one text a line, as column `text`
The text formats may be compressed with gzip (.gz).

A row that cannot be read is given as an UnreadableRow in its place, so that none is lost silently. Which files of a
folder are data is told in heirloom.data.raw.data_folders.
"""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from heirloom.data.raw.csv_rows import read_csv, read_tsv
from heirloom.data.raw.json_rows import read_json, read_jsonl
from heirloom.data.raw.text_files import NumberedRows, Row, UnreadableRow, read_txt, repeated
from heirloom.errors import HeirloomError

PARQUET_ROWS = 256  # rows that are decoded at a time, fewer where a row is long
PARQUET_BYTES = 4_000_000  # of rows that are decoded at a time


class RawFile(NamedTuple):
    """A data file, its name as rows cite it (relative to the raw folder) and the split that it belongs to."""

    path: Path
    name: str
    split: str


def read_rows(file: RawFile) -> NumberedRows:
    """Yield (row number, row) of a file; the number counts from 1 and is the line number where rows are lines.

    Raises HeirloomError when the file as a whole cannot be read.
    """
    try:
        yield from reader_of(file.path)(file.path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise HeirloomError(f"{file.path}: cannot be read ({error}); download or save it again") from None


def suffix_of(path: Path) -> str:
    """Return a path's suffix in small letters, without the .gz of a compressed text format."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else "".join(suffixes[-1:])


def reader_of(path: Path):
    """Return the function that reads files like `path`."""
    try:
        return READERS[suffix_of(path)]
    except KeyError:
        raise HeirloomError(f"{path}: unknown kind of data file; known are {', '.join(READERS)}") from None


def read_parquet(path: Path) -> NumberedRows:
    """Yield the rows of a Parquet file, a few megabytes at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_columns(path, file.schema_arrow.names)
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            longest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
            rows = max(1, min(PARQUET_ROWS, PARQUET_BYTES // max(1, longest)))
            yield from numbered(path, file.iter_batches(rows))
    except pyarrow.ArrowException as error:
        raise HeirloomError(f"{path}: is not a readable Parquet file ({error}); download or save it again") from None


def read_arrow(path: Path) -> NumberedRows:
    """Yield the rows of an Arrow stream."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as batches:
            check_columns(path, batches.schema.names)
            yield from numbered(path, batches, broken_rows)
    except pyarrow.ArrowException as error:
        raise HeirloomError(f"{path}: is not a readable Arrow stream ({error}); save the dataset again") from None


def check_columns(path: Path, names: list[str]) -> None:
    """Raise HeirloomError when a file has two columns of one name: only one of them could be read."""
    if twice := repeated(names):
        raise HeirloomError(f"{path}: has two columns of the name {', '.join(twice)}; rename or delete one")


def broken_rows(batch: Any) -> dict[int, str]:
    """Return {place of a row: what is wrong} for a batch of a stream: its bytes may contradict each other.

    Arrow maps a stream into memory as it is; what it says of lengths would lead anywhere. Raises ArrowInvalid where the
    rows of a broken column cannot be told apart.
    """
    import pyarrow

    broken: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except pyarrow.ArrowInvalid:
            if column.type.num_fields:  # what is inside is looked through as a whole, for each row again
                raise
            for place in range(len(column)):
                try:
                    column.slice(place, 1).validate(full=True)
                except pyarrow.ArrowInvalid as error:
                    broken.setdefault(place, f"column {name!r} cannot be read: {error}")
    return broken


def numbered(
    path: Path, batches: Iterable[Any], look_for_broken: Callable[[Any], dict[int, str]] = lambda batch: {}
) -> NumberedRows:
    """Yield the rows of a file's Arrow record batches, numbered through."""
    from heirloom.data.raw.arrow_rows import converted, row_converters

    number = 0
    for batch in batches:
        try:
            converters = row_converters(batch.schema)
        except ValueError as error:
            raise HeirloomError(f"{path}: {error}; save it again") from None
        broken = look_for_broken(batch)
        for start in range(0, batch.num_rows, PARQUET_ROWS):
            part = batch.slice(start, PARQUET_ROWS)
            for row in rows_without(broken, start, part) if broken else rows_of(part):
                number += 1
                yield number, converted(row, converters) if converters and isinstance(row, dict) else row


def rows_of(batch: Any) -> Iterable[Row | UnreadableRow]:
    """Return the rows of a record batch."""
    try:
        return batch.to_pylist()
    except (OverflowError, ValueError):  # a time that Python cannot hold, or bytes that are no UTF-8
        return [row_of(batch.slice(index, 1)) for index in range(batch.num_rows)]


def rows_without(broken: dict[int, str], start: int, part: Any) -> Iterable[Row | UnreadableRow]:
    """Return the rows of a part of a batch, which begins at `start`, without looking at those that are broken."""
    for index in range(part.num_rows):
        problem = broken.get(start + index)
        yield UnreadableRow(problem) if problem else row_of(part.slice(index, 1))


def row_of(batch: Any) -> Row | UnreadableRow:
    """Return the one row of a record batch, in which a value may be none that Python knows.

    Times beyond Python's years are given as Arrow writes them: a column that nobody reads must cost no row.
    """
    import pyarrow

    row = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = values[0].as_py()
        except OverflowError as error:
            if not pyarrow.types.is_temporal(values.type):
                return UnreadableRow(f"column {name!r} cannot be read: {error}")
            row[name] = str(values[0].cast(pyarrow.string()))
        except ValueError as error:
            return UnreadableRow(f"column {name!r} cannot be read: {error}")
    return row


READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".txt": read_txt,
}
