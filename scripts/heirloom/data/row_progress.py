"""Say how far a processing is: a line every few seconds, fit for a log file."""

import time

from heirloom.time_left import SECONDS_BETWEEN_LINES, time_left


class RowProgress:
    """Counts raw rows as they are read and prints `rows 120,000/500,000  24,000 rows/s  0:00:16 left`.

    Without a `total` the line says how many there were so far.
    """

    def __init__(self, word: str, total: int | None) -> None:
        """`word`: what the rows are read for, the first word of the lines."""
        self.word, self.total = word, total
        self.done = 0
        self.started = self.last_line = time.monotonic()

    def advance(self) -> None:
        """Count a row."""
        self.done += 1
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            print(self.line(self.done / (now - self.started)), flush=True)

    def line(self, speed: float) -> str:
        """Return the line; `speed` is in rows a second."""
        if not self.total or self.done > self.total:
            return f"{self.word} {self.done:,}  {speed:,.0f} rows/s"
        left = time_left((self.total - self.done) / speed)
        return f"{self.word} {self.done:,}/{self.total:,}  {speed:,.0f} rows/s  {left}"
