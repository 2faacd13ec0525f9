"""Read rows of CSV and TSV: a header line, then rows; every value is text."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from heirloom.data.raw import text_files
from heirloom.data.raw.text_files import (
    NO_MORE,
    Lines,
    NumberedRows,
    UnreadableRow,
    bad_bytes,
    open_text,
    repeated,
    text_of,
)
from heirloom.errors import HeirloomError

REMEDY = "write a quote inside a value twice, and close the one that opens it"


def read_csv(path: Path, delimiter: str = ",") -> NumberedRows:
    """Yield the rows below the header, numbered from 1.

    A quote that does not end swallows all that follows: it is one unreadable row that says so, as a value or a line
    that is too long does: whether what comes next is a row cannot be told. Raises HeirloomError for a header with two
    columns of one name.
    """
    csv.field_size_limit(text_files.LONGEST_ROW)
    with open_text(path) as file:
        reader = csv.reader(whole_lines(file), delimiter=delimiter, strict=True)
        try:
            columns = next(reader, [])
        except csv.Error as error:
            raise HeirloomError(f"{path}: its header cannot be read ({error}); {REMEDY}") from None
        if problem := next(filter(None, map(bad_bytes, columns)), None):
            raise HeirloomError(f"{path}: its header {problem}; save the file as UTF-8 again")
        if twice := repeated(columns):
            raise HeirloomError(f"{path}: has two columns of the name {', '.join(twice)}; rename or delete one")
        number = 0
        while True:
            first = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                yield number, UnreadableRow(unreadable(error, first, reader.line_num))
                if NO_MORE in str(error) or "field limit" in str(error):
                    return
                continue
            if not values:
                continue  # an empty line
            number += 1
            problem = next(filter(None, map(bad_bytes, values)), None)
            if problem:
                yield number, UnreadableRow(problem)
            elif len(values) != len(columns):
                wanted = f"expected {len(columns)} values as in the header"
                yield number, UnreadableRow(f"{wanted}, found more or fewer ({len(values)})")
            else:
                yield number, dict(zip(columns, values, strict=True))


def whole_lines(file: io.TextIOBase) -> Iterator[str]:
    """Yield the lines of a file. Raises csv.Error, which the reader of CSV passes on, for one that is too long."""
    lines = Lines(file)
    while line := lines.next():
        if isinstance(line, UnreadableRow):
            raise csv.Error(f"line {line.problem}{NO_MORE}")
        yield text_of(line)


def read_tsv(path: Path) -> NumberedRows:
    """Yield the rows of a file whose values are parted by tabs."""
    return read_csv(path, "\t")


def unreadable(error: csv.Error, first: int, last: int) -> str:
    """Return what is wrong with the row that stands in the lines from `first` to `last`."""
    lines = f"line {first}" if first == last else f"lines {first} to {last}"
    if "unexpected end of data" in str(error):
        return f"a quote does not end: {lines} are one value; {REMEDY}"
    if NO_MORE in str(error):
        return f"after {lines}: a {error}" if last >= first else f"a {error}"
    if "field limit" in str(error):
        return f"{lines}: a value {text_files.too_long(text_files.LONGEST_ROW)}{NO_MORE}"
    return f"a quote ends inside a value, in {lines} ({error}); {REMEDY}"
