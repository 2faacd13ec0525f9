"""Read rows of CSV and TSV: a header line, then rows; every value is text."""

import csv
from pathlib import Path

from heirloom.data.raw.text_files import NumberedRows, UnreadableRow, bad_bytes, open_text
from heirloom.errors import HeirloomError

LONGEST_VALUE = 1 << 30  # characters
REMEDY = "write a quote inside a value twice, and close the one that opens it"


def read_csv(path: Path, delimiter: str = ",") -> NumberedRows:
    """Yield the rows below the header, numbered from 1.

    A quote that does not end swallows all that follows: it is one unreadable row that says so. Raises HeirloomError
    for a header with two columns of one name.
    """
    csv.field_size_limit(LONGEST_VALUE)
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            columns = next(reader, [])
        except csv.Error as error:
            raise HeirloomError(f"{path}: its header cannot be read ({error}); {REMEDY}") from None
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise HeirloomError(f"{path}: has two columns of the name {', '.join(repeated)}; rename or delete one")
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


def read_tsv(path: Path) -> NumberedRows:
    """Yield the rows of a file whose values are parted by tabs."""
    return read_csv(path, "\t")


def unreadable(error: csv.Error, first: int, last: int) -> str:
    """Return what is wrong with the row that stands in the lines from `first` to `last`."""
    lines = f"line {first}" if first == last else f"lines {first} to {last}"
    if "unexpected end of data" in str(error):
        return f"a quote does not end: {lines} are one value; {REMEDY}"
    return f"a quote ends inside a value, in {lines} ({error}); {REMEDY}"
