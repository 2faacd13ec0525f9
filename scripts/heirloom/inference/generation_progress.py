"""Say how far a generation is, on the terminal only: speed is no part of a result."""

import time

from heirloom.time_left import SECONDS_BETWEEN_LINES, time_left


class Progress:
    """Prints a line every few seconds, on the main rank, for all ranks: they get equal shares."""

    def __init__(self, total: int, done: int, ranks: int, talks: bool) -> None:
        """`total` and `done` count this rank's answers."""
        self.total, self.done, self.ranks, self.talks = total, done, ranks, talks
        self.done_before = done
        self.tokens = 0
        self.started = self.last_line = time.monotonic()

    def advance(self, answers: int, tokens: int) -> None:
        """Count finished answers and their tokens."""
        self.done += answers
        self.tokens += tokens
        now = time.monotonic()
        if self.talks and (now - self.last_line >= SECONDS_BETWEEN_LINES or self.done == self.total):
            self.last_line = now
            seconds = max(now - self.started, 1e-9)
            left = (self.total - self.done) * seconds / (self.done - self.done_before)
            print(
                f"answers {self.done}/{self.total} on rank 0 of {self.ranks}  "
                f"{self.tokens * self.ranks / seconds:,.0f} tokens/s  {time_left(left)}",
                flush=True,
            )
