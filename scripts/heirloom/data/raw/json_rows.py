"""Read rows of JSON: one object a line, or an array that is read as a stream."""

import io
import json
import re
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from heirloom.data.raw import text_files
from heirloom.data.raw.text_files import (
    DEEPEST,
    NO_MORE,
    Lines,
    NumberedRows,
    Row,
    UnreadableRow,
    bad_bytes,
    checked,
    is_deep,
    open_text,
    repeated,
    text_of,
    too_long,
)

CHUNK = 1 << 20  # characters of a .json file that are read at a time; a longer row is read as bytes
SPACE, SEPARATOR = re.compile(r"\s*"), re.compile(r"\s*,?\s*")
HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # half of a pair; emoji are written as two of them
MANY_COLUMNS = 64  # from which on none is looked for in the text: that would take time by columns times characters
DECODER = json.JSONDecoder()
OUTSIDE, INSIDE = re.compile(r'["\[\]{}]'), re.compile(r'["\\]')  # what says, of a string, how far a value goes
NOT_JSON, TOO_DEEP = "is not JSON: ", "is nested too deep to be read"


def read_jsonl(path: Path) -> NumberedRows:
    """Yield the object of each line that is not empty."""
    number = 0
    with open_text(path) as file:
        lines = Lines(file)
        while line := lines.next():
            number += 1
            if type(line) is UnreadableRow:
                yield number, line
            elif not line.isspace():
                row, line = row_of_line(line) if type(line) is str else row_of_long_line(line), ""
                yield number, row
                row = {}  # neither a line nor a row is held while the next is read: it may be a whole book


def row_of_line(line: str) -> Row | UnreadableRow:
    """Return the row that a line says, or what is wrong with it."""
    problem = bad_bytes(line)
    if problem:
        return UnreadableRow(problem)
    try:
        at = 0 if line[0] == "{" else SPACE.match(line).end()
        value, end = DECODER.scan_once(line, at)
    except StopIteration as stop:
        return UnreadableRow(f"{NOT_JSON}Expecting value at column {stop.value + 1}")
    except (ValueError, RecursionError) as error:
        return UnreadableRow(what_is_wrong(error))
    if line[end : end + 2] not in ("\n", "\r\n", "") and line[end:].strip():
        return UnreadableRow(f"{NOT_JSON}Extra data at column {end + 1}")
    return row_in(value, line, at, end)


def row_of_long_line(line: bytes) -> Row | UnreadableRow:
    """Return what `row_of_line` does in the memory of the bytes and the row, unless the row is an odd one."""
    try:
        row = from_json(line)
    except ValueError:
        return row_of_line(text_of(line))
    few_levels = line.count(b"[") + line.count(b"{") <= DEEPEST or not is_deep(row)
    if type(row) is dict and few_levels and not may_repeat(row, line, 0, len(line)):
        return row
    return row_of_line(text_of(line))


def row_in(value: Any, text: str, start: int, end: int) -> Row | UnreadableRow:
    """Return a decoded value, which is written in text[start:end], as a row, or what is wrong with it."""
    if goes_too_deep(value, text, start, end):
        return UnreadableRow(TOO_DEEP)
    if type(value) is dict and may_repeat(value, text, start, end) and (twice := repeated_columns(text, start)):
        return UnreadableRow(f"has two columns of the name {', '.join(twice)}")
    return with_whole_characters(checked(value), text, start, end)


def may_repeat(row: Row, text: str | bytes, start: int, end: int) -> bool:
    """Tell whether a row that is written in text[start:end] has to be looked through for a column that is there twice.

    Where each name stands once between quotes, none is.
    """
    if len(row) > MANY_COLUMNS:
        return True
    for column in row:
        name = f'"{column}"'
        if text.count(name if type(text) is str else name.encode(), start, end) != 1:
            return True
    return False


def repeated_columns(text: str, start: int) -> list[str]:
    """Return the columns that the object that begins at text[start] has twice."""
    twice: list[str] = []

    def columns_of(pairs: list[tuple[str, Any]]) -> None:
        twice[:] = repeated(name for name, _ in pairs)  # the row itself comes last

    json.JSONDecoder(object_pairs_hook=columns_of).raw_decode(text, start)
    return twice


def with_whole_characters(row: Row | UnreadableRow, text: str, start: int, end: int) -> Row | UnreadableRow:
    r"""Return a row that is written in text[start:end], unless a `\ud83d` in it stands without its other half."""
    if text.find("\\u", start, end) < 0 or not HALF_ESCAPED.search(text, start, end):
        return row
    if isinstance(row, UnreadableRow):
        return row
    for column, value in row.items():
        problem = bad_bytes(json.dumps([column, value], ensure_ascii=False))
        if problem:
            return UnreadableRow(f"column {column!r} {problem.partition(' at character')[0]}")
    return row


def goes_too_deep(value: Any, text: str, start: int, end: int) -> bool:
    """Tell whether a value that is written in text[start:end] is nested too deep for what is done with it later."""
    opened = text.count("[", start, end) + text.count("{", start, end)
    return opened > DEEPEST and is_deep(value)


def what_is_wrong(error: Exception) -> str:
    """Return why a text is not taken as JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"{NOT_JSON}{error.msg} at column {error.colno}"
    if isinstance(error, RecursionError):
        return TOO_DEEP
    return f"holds a number that is too long to be read ({str(error).partition(';')[0]})"


class ValueEnd:
    """Finds where an object, a list or a string ends that is given piece by piece."""

    def __init__(self) -> None:
        self.depth, self.in_string, self.escaped = 0, False, False

    def find(self, piece: str) -> int | None:
        """Return the place in the next piece behind the value; None when it goes on after it."""
        at, self.escaped = int(self.escaped), False
        while found := (INSIDE if self.in_string else OUTSIDE).search(piece, at):
            at, sign = found.end(), found[0]
            if sign == "\\":
                self.escaped = at == len(piece)
                at += 1
            elif sign == '"':
                self.in_string = not self.in_string
            else:
                self.depth += 1 if sign in "[{" else -1
            if self.depth <= 0 and not self.in_string:
                return at
        return None


def read_json(path: Path) -> NumberedRows:
    """Yield the objects of an array, or objects that stand one after another, reading a chunk at a time.

    What follows a broken object cannot be told apart: the rest of the file is given as one unreadable row.
    """
    with open_text(path) as file:
        text, number, finished = file.read(CHUNK), 0, False
        at = SPACE.match(text).end()
        in_array = text.startswith("[", at)
        at += in_array
        while True:
            at = (SEPARATOR if number else SPACE).match(text, at).end()
            if in_array and text.startswith("]", at):
                rest = text[at + 1 :].strip() or file.read(CHUNK).strip()
                if rest:
                    yield number + 1, UnreadableRow(f"expected nothing after the array, found {rest[:40]!r}")
                return
            try:
                value, end = DECODER.raw_decode(text, at)
                complete = end < len(text) or finished  # a number may go on in the next chunk
            except json.JSONDecodeError as error:
                complete, problem = False, f"{NOT_JSON}{error.msg}"
            except (ValueError, RecursionError) as error:
                yield number + 1, UnreadableRow(what_is_wrong(error) + NO_MORE)
                return
            if complete:
                number, start, at = number + 1, at, end
                wrong = bad_bytes(text[start:end]) if not text.isascii() else None
                wrong = wrong or too_long(end - start)
                row, value = UnreadableRow(wrong) if wrong else row_in(value, text, start, end), None
                yield number, row
                row = {}
            elif finished:
                if at < len(text) or in_array:
                    problem = problem if at < len(text) else "the array does not end"
                    yield number + 1, UnreadableRow(f"{problem}{NO_MORE}")
                return
            elif len(text) - at < CHUNK:
                chunk = file.read(CHUNK)
                text, at, finished = text[at:] + chunk, 0, not chunk
            else:
                number += 1
                row, text = read_long_row(file, text[at:])
                at = 0
                yield number, row
                if isinstance(row, UnreadableRow) and row.problem.endswith(NO_MORE):
                    return
                row = {}


def read_long_row(file: io.TextIOBase, text: str) -> tuple[Row | UnreadableRow, str]:
    """Return the row whose beginning is `text`, or what is wrong with it, and what follows it of what was read."""
    value, size, line = ValueEnd(), 0, io.BytesIO()
    while (end := value.find(text)) is None and text and size + len(text) < text_files.LONGEST_ROW:
        line.write(text.encode(errors="surrogateescape"))
        size += len(text)
        text = file.read(CHUNK)
    line.write(text[:end].encode(errors="surrogateescape"))
    if problem := too_long(size + len(text[:end])):
        return UnreadableRow(problem if end else problem + NO_MORE), text[end:]
    row, text = row_of_long_line(line.getvalue()), text[end:]
    if isinstance(row, UnreadableRow):
        try:
            DECODER.decode(text_of(line.getvalue()))
        except (ValueError, RecursionError) as error:  # where it ends is then not known either
            row = UnreadableRow(f"{what_is_wrong(error).partition(' at column')[0]}{NO_MORE}")
    return row, text
