"""How far a job is, by the lines of its log file."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

LINE = re.compile(r"(\w+) ([\d,]+)/([\d,]+)(?:\s|$)")
TIME_LEFT = re.compile(r"\b(\d+):(\d\d):(\d\d) left\b")
MOST_BYTES = 1 << 20
"""Read of a log at a time; what lies before is skipped."""


@dataclass(frozen=True)
class Progress:
    """`word` is what is counted; `ends` is when it will be done, by time.monotonic(), if known."""

    word: str
    done: int
    total: int
    ends: float | None

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
    return Progress(word, done, total, None if seconds is None else time.monotonic() + seconds)


class LogFollower:
    """Reads what a job adds to its log file; what an earlier job left there counts for nothing."""

    def __init__(self, path: Path) -> None:
        """Begin with the file as the job finds it: it may be absent, or be begun anew later."""
        self.path = path
        self.progress: Progress | None = None
        self._before = self._stat()
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

    def follow(self) -> bool:
        """Read what is new; return whether that tells of progress."""
        if not self.begun:
            return False
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:  # begun anew
                    self._offset, self._rest = 0, b""
                if size - self._offset > MOST_BYTES:
                    self._offset, self._rest = size - MOST_BYTES, b""
                file.seek(self._offset)
                new = file.read(MOST_BYTES)
        except OSError:
            return False
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        found = [seen for line in lines if (seen := progress_of(line.decode("utf-8", "replace")))]
        if found:
            self._learn(found[-1])
        return bool(found)

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
        self.progress = Progress(seen.word, seen.done, seen.total, ends)
