"""Bring rows to their length: which tokens stay, and padding."""

from collections.abc import Iterator

from heirloom.config.processing import ProcessingSection


class Dropped(Exception):  # noqa: N818 - no error: the row is left out for a reason that is counted
    """A row is left out; the message is the name under which the statistics count it."""


def kept(length: int, section: ProcessingSection) -> slice:
    """Return which of `length` tokens stay. Raises Dropped when a longer row is to be left out."""
    if length <= section.max_length:
        return slice(0, length)
    if not section.truncation:
        raise Dropped("longer_than_max_length")
    if section.truncation_mode == "keep_start":
        return slice(0, section.max_length)
    return slice(length - section.max_length, length)


class Packer:
    """Joins documents and cuts rows of exactly `length` tokens."""

    def __init__(self, length: int):
        self.length = length
        self.rest: list[int] = []

    def add(self, ids: list[int]) -> Iterator[list[int]]:
        """Yield the rows that are full with this document; what remains waits for the next one."""
        self.rest += ids
        full = len(self.rest) - len(self.rest) % self.length
        for start in range(0, full, self.length):
            yield self.rest[start : start + self.length]
        del self.rest[:full]
