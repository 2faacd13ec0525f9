"""Open text files of rows, compressed or not, and say what is wrong with a row rather than with its file."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heirloom.errors import HeirloomError

CHUNK_BYTES = 1 << 17  # that are decoded at a time
SLICE = 1 << 20  # characters that are looked at at a time: a text may be a whole book
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class UnreadableRow(NamedTuple):
    """Stands where a row cannot be read, and says why."""

    problem: str


Row = dict[str, Any]
NumberedRows = Iterator[tuple[int, Row | UnreadableRow]]


def open_text(path: Path) -> io.TextIOBase:
    """Open a text file, compressed or not, without the byte order mark that some editors write.

    Bytes that are no UTF-8 come as surrogates, which `bad_bytes` finds. Raises HeirloomError for UTF-16.
    """
    file = gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # noqa: SIM115 - returned
    if file.peek(2)[:2] in UTF_16_MARKS:
        file.close()
        raise HeirloomError(f"{path}: is UTF-16; save it as UTF-8 again")
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    text._CHUNK_SIZE = CHUNK_BYTES  # a line of many megabytes is joined from fewer pieces
    return text


def bad_bytes(text: str) -> str | None:
    """Return what is wrong with a text of a file: bytes that are no UTF-8, or half of a surrogate pair."""
    if text.isascii():
        return None
    for start in range(0, len(text), SLICE):
        try:
            (text[start : start + SLICE] if len(text) > SLICE else text).encode()
        except UnicodeEncodeError as error:
            at = start + error.start
            code = ord(text[at])
            if 0xDC80 <= code <= 0xDCFF:
                return f"is not UTF-8: byte 0x{code - 0xDC00:02x} at character {at + 1}"
            return f"has half of a character: \\u{code:04x} at character {at + 1} has no other half beside it"
    return None


def checked(value: Any) -> Row | UnreadableRow:
    """Return a decoded row, or what is wrong with it when it is no object with columns."""
    if isinstance(value, dict):
        return value
    return UnreadableRow(f"expected an object with columns, found {type(value).__name__}")


def read_txt(path: Path) -> NumberedRows:
    """Yield each line that is not empty as the column `text`."""
    number = 0
    with open_text(path) as file:
        for line in file:
            number += 1
            if line.strip():
                problem = bad_bytes(line)
                yield number, UnreadableRow(problem) if problem else {"text": line.rstrip("\r\n")}
