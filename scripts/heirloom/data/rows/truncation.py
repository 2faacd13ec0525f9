"""Bring rows to their length: which tokens stay, and padding."""

from collections.abc import Iterator

from heirloom.config.sections.processing import ProcessingSection
from heirloom.errors import HeirloomError


class Dropped(Exception):  # noqa: N818 - no error: the row is left out for a reason that is counted
    """A row is left out; the message is the name under which the statistics count it."""


def kept(
    length: int, section: ProcessingSection, limit: int | None = None, reason: str = "longer_than_max_length"
) -> slice:
    """Return which of `length` tokens stay of a sequence with at most `limit` (absent: max_length).

    Raises Dropped with `reason` when a longer one is to be left out.
    """
    limit = section.max_length if limit is None else limit
    if length <= limit:
        return slice(0, length)
    if not section.truncation:
        raise Dropped(reason)
    if section.truncation_mode == "keep_start":
        return slice(0, limit)
    return slice(length - limit, length)


def shortened(
    ids: list[int], closing: tuple[int, int], limit: int, section: ProcessingSection, reason: str
) -> list[int]:
    """Return token ids in at most `limit` tokens: what stands between the closing ones loses its end or beginning.

    `closing` counts the first and the last ids that open and close the text. Raises Dropped with `reason` when a
    longer sequence is to be left out, and HeirloomError when nothing fits between them.
    """
    first, last = closing
    room = limit - first - last
    if room < 1:
        raise HeirloomError(
            f"processing.{reason.removeprefix('longer_than_')}: {limit} tokens leave no room beside the {first + last} "
            "that open and close a text; give a larger number"
        )
    end = len(ids) - last
    return [*ids[:first], *ids[first:end][kept(end - first, section, room, reason)], *ids[end:]]


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
