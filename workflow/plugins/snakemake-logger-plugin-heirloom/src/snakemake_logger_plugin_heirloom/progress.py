"""How far a job is, by the lines of its log file."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

LINE = re.compile(r"(\w+) ([\d,]+)/([\d,]+)(?:\s|$)")
TIME_LEFT = re.compile(r"\b(\d+):(\d\d):(\d\d) left\b")
NUMBER = r"-?(?:\d[\d,]*)?\.?\d+(?:e[+-]?\d+)?"
FIGURE = re.compile(
    rf"(?P<name>[A-Za-z][A-Za-z -]*) (?P<value>{NUMBER})(?: ?%| GiB)?|(?P<amount>{NUMBER}) (?P<unit>\w+/\w+)"
)
"""`loss 2.3456`, `exact match 12.0%`, `memory 12.34 GiB`, or `5,000 tokens/s`."""
BETWEEN_FIGURES = re.compile(r"\s{2,}|, (?=[a-z])")
MOST_BYTES = 1 << 20
"""Read of a log at a time; what lies before is skipped."""


@dataclass(frozen=True)
class Progress:
    """`word` is what is counted; `ends` is when it will be done, by time.monotonic(), if known.

    `figures` are what the line says beside that, such as {"loss": 2.3, "tokens/s": 5000.0}.
    """

    word: str
    done: int
    total: int
    ends: float | None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def left(self) -> float | None:
        """Seconds."""
        return None if self.ends is None else max(0.0, self.ends - time.monotonic())

    def __str__(self) -> str:
        return f"{self.word} {self.done:,}/{self.total:,}"


def progress_of(line: str) -> Progress | None:
    """Return what a line says, None for one that says nothing of progress."""
    match = LINE.match(line)
    if match is None:
        return None
    word, done, total = match[1], int(match[2].replace(",", "")), int(match[3].replace(",", ""))
    if not 0 <= done <= total or not total:
        return None
    left = TIME_LEFT.search(line)
    seconds = left and int(left[1]) * 3600 + int(left[2]) * 60 + int(left[3])
    ends = None if seconds is None else time.monotonic() + seconds
    return Progress(word, done, total, ends, dict(figures_in(line[match.end() :])))


def figures_in(text: str) -> Iterator[tuple[str, float]]:
    """Yield name and value of what stands in a line of progress after how far it is."""
    for part in BETWEEN_FIGURES.split(text):
        if match := FIGURE.fullmatch(part.strip()):
            yield match["name"] or match["unit"], float((match["value"] or match["amount"]).replace(",", ""))


class LogFollower:
    """Reads what a job adds to its log file; what an earlier job left there counts for nothing."""

    def __init__(self, path: Path, begun: bool = False, most_bytes: int = MOST_BYTES) -> None:
        """Begin with the file as the job finds it: it may be absent, or be begun anew later.

        `begun`: the job runs already, and what is there is its own. `most_bytes` are read at a time.
        """
        self.path = path
        self.progress: Progress | None = None
        self._most_bytes = most_bytes
        self._before = None if begun else self._stat()
        self._offset = 0
        self._rest = b""
        self._first: tuple[float, Progress] | None = None
        """The first progress seen of what is counted now, and when."""
        self._stated = False
        """Whether a line has said the time left."""

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    @property
    def begun(self) -> bool:
        """Whether the job has written to the file."""
        return self._stat() not in (None, self._before)

    def follow(self) -> list[Progress]:
        """Read what is new; return what its lines tell of progress."""
        if not self.begun:
            return []
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:  # begun anew
                    self._offset, self._rest = 0, b""
                if size - self._offset > self._most_bytes:
                    self._offset, self._rest = size - self._most_bytes, b""
                file.seek(self._offset)
                new = file.read(self._most_bytes)
        except OSError:
            return []
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        found = [seen for line in lines if (seen := progress_of(line.decode("utf-8", "replace")))]
        if found:
            last = found[-1]
            said = [seen.ends for seen in found if seen.ends and (seen.word, seen.total) == (last.word, last.total)]
            self._learn(replace(last, ends=said[-1] if said else None))
        return found

    def _learn(self, seen: Progress) -> None:
        """Take what was seen last; where it says no time left, what lines said before stays, else the speed tells."""
        now, known = time.monotonic(), self.progress
        if known is None or (known.word, known.total) != (seen.word, seen.total):
            self._first, self._stated, known = (now, seen), False, None
        self._stated |= seen.ends is not None
        ends = seen.ends
        since, first = self._first
        if ends is None and self._stated:
            ends = known.ends
        elif ends is None and seen.done > first.done:
            ends = now + (seen.total - seen.done) * (now - since) / (seen.done - first.done)
        self.progress = replace(seen, ends=ends)
