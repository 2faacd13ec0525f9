"""Open text files of rows, compressed or not, and say what is wrong with a row rather than with its file.

A file may come from anybody: what it costs to read has limits, and grows with its length only.
"""

import gzip
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heirloom.errors import HeirloomError

CHUNK_BYTES = 1 << 17  # that are decoded at a time
SLICE = 1 << 20  # characters that are looked at at a time: a text may be a whole book
LONGEST_ROW = 1 << 28
"""Characters of a row, and of a line: some twenty times the longest books."""
DEEPEST = 100
"""Levels of lists and objects in a row."""
MOST_UNPACKED, HIGHEST_RATIO = 1 << 30, 200
"""Bytes that any archive may unpack to, and times of its own size where it is more: text has a ratio of 3 to 30."""
NO_MORE = "; nothing from here on could be read"
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
    file = open_bytes(path)
    if file.peek(2)[:2] in UTF_16_MARKS:
        file.close()
        raise HeirloomError(f"{path}: is UTF-16; save it as UTF-8 again")
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    text._CHUNK_SIZE = CHUNK_BYTES  # a line of many megabytes is joined from fewer pieces
    return text


def open_bytes(path: Path) -> io.BufferedIOBase:
    """Open a file, compressed or not, for reading its bytes as they are without compression."""
    return BoundedArchive(path) if path.suffix.lower() == ".gz" else path.open("rb")


class BoundedArchive(gzip.GzipFile):
    """A compressed file that does not unpack without end.

    Reading raises OSError where it has become more than MOST_UNPACKED bytes and HIGHEST_RATIO times its size.
    """

    def __init__(self, path: Path) -> None:
        self._most = max(MOST_UNPACKED, HIGHEST_RATIO * path.stat().st_size)
        super().__init__(path, "rb")

    def read(self, size: int | None = -1) -> bytes:
        return self._counted(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def _counted(self, data: bytes) -> bytes:
        if self.tell() > self._most:
            raise OSError(f"it unpacks to more than {self._most:,} bytes, {HIGHEST_RATIO} times its size")
        return data


class Lines:
    """The lines of a text file, each with its end.

    A long line comes as its bytes: as text it would be held twice while it is joined from pieces, and a single wide
    character makes Python take four bytes for each.
    """

    def __init__(self, file: io.TextIOBase):
        self.file, self.most = file, min(SLICE, LONGEST_ROW)
        self.parted = False  # whether the last piece may have ended between \r and \n

    def next(self) -> str | bytes | UnreadableRow:
        """Return the next line, empty at the end of the file; of one that is too long say that."""
        piece = self.piece()
        if self.is_last(piece):
            return piece
        line, size = io.BytesIO(), 0
        while size + len(piece) < LONGEST_ROW or piece[-1:] in ("\r", "\n"):
            line.write(piece.encode(errors="surrogateescape"))
            size += len(piece)
            if self.is_last(piece):
                return line.getvalue()
            piece = self.piece()
        del line
        while not self.is_last(piece):
            piece = self.piece()
        return UnreadableRow(too_long(LONGEST_ROW))

    def piece(self) -> str:
        """Return what comes next of a line."""
        piece = self.file.readline(self.most)
        if self.parted and piece == "\n":
            piece = self.file.readline(self.most)
        self.parted = len(piece) == self.most and piece[-1] == "\r"
        return piece

    def is_last(self, piece: str) -> bool:
        """Tell whether a piece is the last of its line."""
        return len(piece) < self.most or piece[-1] in "\r\n"


def text_of(line: str | bytes) -> str:
    """Return a line as text."""
    return line if isinstance(line, str) else line.decode(errors="surrogateescape")


def without_end(line: str | bytes) -> str:
    """Return a line as text without its end."""
    if isinstance(line, str):
        return line.rstrip("\r\n")
    size = len(line)
    while line[size - 1 : size] in (b"\r", b"\n"):
        size -= 1
    return str(memoryview(line)[:size], "utf-8", "surrogateescape")


def too_long(size: int) -> str | None:
    """Return what is wrong with a row of so many characters; None when nothing is."""
    return f"is longer than {LONGEST_ROW - 1:,} characters" if size >= LONGEST_ROW else None


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, in their order as texts."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def is_deep(value: Any) -> bool:
    """Tell whether lists and objects stand in each other on more than DEEPEST levels."""
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(DEEPEST):
        inside = (inner for outer in level for inner in (outer.values() if type(outer) is dict else outer))
        level = [inner for inner in inside if type(inner) is dict or type(inner) is list]
        if not level:
            return False
    return True


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
    number, line = 0, ""
    with open_text(path) as file:
        lines = Lines(file)
        while line := lines.next():
            number += 1
            if isinstance(line, UnreadableRow):
                yield number, line
            elif not line.isspace():
                text, line = without_end(line), ""  # a line is held once: it may be a whole book
                problem = bad_bytes(text)
                row = UnreadableRow(problem) if problem else {"text": text}
                text = ""
                yield number, row
                row = {}
