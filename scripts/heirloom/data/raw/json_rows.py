"""Read rows of JSON: one object a line, or an array that is read as a stream."""

import json
import re
from pathlib import Path
from typing import Any

from heirloom.data.raw.text_files import (
    DEEPEST,
    NO_MORE,
    NumberedRows,
    Row,
    UnreadableRow,
    bad_bytes,
    checked,
    is_deep,
    next_line,
    open_text,
    repeated,
    too_long,
)

CHUNK = 1 << 20  # characters of a .json file that are read at a time
SPACE, SEPARATOR = re.compile(r"\s*"), re.compile(r"\s*,?\s*")
HALF_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # half of a pair; emoji are written as two of them
MANY_COLUMNS = 64  # from which on none is looked for in the text: that would take time by columns times characters
DECODER = json.JSONDecoder()
TOO_DEEP = "is nested too deep to be read"


def read_jsonl(path: Path) -> NumberedRows:
    """Yield the object of each line that is not empty."""
    number = 0  # not enumerate(): it holds the last line, which may be a whole book
    with open_text(path) as file:
        while line := next_line(file):
            number += 1
            if type(line) is not str:
                yield number, line
                continue
            row = None if line.isspace() else row_of_line(line)
            line = ""
            if row is not None:
                yield number, row


def row_of_line(line: str) -> Row | UnreadableRow:
    """Return the row that a line says, or what is wrong with it."""
    problem = bad_bytes(line)
    if problem:
        return UnreadableRow(problem)
    try:
        at = 0 if line[0] == "{" else SPACE.match(line).end()
        value, end = DECODER.scan_once(line, at)
    except StopIteration as stop:
        return UnreadableRow(f"is not JSON: Expecting value at column {stop.value + 1}")
    except (ValueError, RecursionError) as error:
        return UnreadableRow(what_is_wrong(error))
    if line[end : end + 2] not in ("\n", "\r\n", "") and line[end:].strip():
        return UnreadableRow(f"is not JSON: Extra data at column {end + 1}")
    if goes_too_deep(value, line, 0, len(line)):
        return UnreadableRow(TOO_DEEP)
    if type(value) is dict:
        if len(value) > MANY_COLUMNS:
            return without_repeated_columns(line, at, value)
        for column in value:
            if line.count(f'"{column}":') > 1:  # perhaps inside a column
                return without_repeated_columns(line, at, value)
    return with_whole_characters(checked(value), line, at, end)


def without_repeated_columns(line: str, at: int, value: Row) -> Row | UnreadableRow:
    """Return a row that may have a column twice, or that it has."""
    twice: list[str] = []

    def columns_of(pairs: list[tuple[str, Any]]) -> None:
        twice[:] = repeated(name for name, _ in pairs)  # the row itself comes last

    json.JSONDecoder(object_pairs_hook=columns_of).raw_decode(line, at)
    if twice:
        return UnreadableRow(f"has two columns of the name {', '.join(twice)}")
    return with_whole_characters(value, line, at, len(line))


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
        return f"is not JSON: {error.msg} at column {error.colno}"
    if isinstance(error, RecursionError):
        return TOO_DEEP
    return f"holds a number that is too long to be read ({str(error).partition(';')[0]})"


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
                complete, problem = False, f"is not JSON: {error.msg}"
            except (ValueError, RecursionError) as error:
                yield number + 1, UnreadableRow(what_is_wrong(error) + NO_MORE)
                return
            if complete:
                number, start, at = number + 1, at, end
                wrong = bad_bytes(text[start:end]) if not text.isascii() else None
                wrong = wrong or (TOO_DEEP if goes_too_deep(value, text, start, end) else too_long(end - start))
                row = UnreadableRow(wrong) if wrong else with_whole_characters(checked(value), text, start, end)
                yield number, row
            elif too_long(len(text) - at):
                yield number + 1, UnreadableRow(f"{too_long(len(text) - at)}{NO_MORE}")
                return
            elif not finished:
                chunk = file.read(max(CHUNK, len(text) - at))  # doubling: decoding a long object again stays linear
                text, at, finished = text[at:] + chunk, 0, not chunk
            else:
                if at < len(text) or in_array:
                    problem = problem if at < len(text) else "the array does not end"
                    yield number + 1, UnreadableRow(f"{problem}{NO_MORE}")
                return
