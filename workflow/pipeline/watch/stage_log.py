"""What the log of a stage that runs has told: how far it is, its figures by step, its last lines.

Lines are read by the logger plugin's code, so that page and terminal say the same.
"""

from collections import deque
from pathlib import Path

from heirloom.errors import plain
from pipeline.watch.logger_plugin import LogFollower, Progress, last_lines

MOST_BYTES = 1 << 25
"""Read of a log when the page is opened: some 300,000 lines of a training."""
MOST_POINTS = 1000
"""Of a curve; of a longer one every second point is left out, and again."""
MOST_LINES = 10
LONGEST_LINE = 400
"""Characters."""


class Curve:
    """A figure by step, thinned out as it grows."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []

    def add(self, step: int, value: float) -> None:
        """Take the next point; one of an earlier step begins anew, as a training does."""
        if self.steps and step < self.steps[-1]:
            self.steps, self.values = [], []
        if len(self.steps) >= MOST_POINTS:
            self.steps, self.values = self.steps[::2], self.values[::2]
        self.steps.append(step)
        self.values.append(value)


class StageLog:
    """Follows the log of one launch."""

    def __init__(self, path: Path) -> None:
        self._follower = LogFollower(path, begun=True, most_bytes=MOST_BYTES)
        self.curves: dict[str, Curve] = {}

    @property
    def progress(self) -> Progress | None:
        """How far it is, as the last line of progress says."""
        return self._follower.progress

    def follow(self) -> None:
        """Read what is new."""
        for seen in self._follower.follow():
            for name, value in seen.figures.items():
                self.curves.setdefault(name, Curve()).add(seen.done, value)

    def lines(self) -> list[str]:
        """Return the last lines, fit for a page."""
        return last_lines_of(self._follower.path)


def last_lines_of(file: Path) -> list[str]:
    """Return the last lines of a log as a page shows them; none of a file that cannot be read."""
    return [plain(line[:LONGEST_LINE]) for line in deque(last_lines(file), MOST_LINES)]
