"""Bring rows to their length: which tokens stay, and padding."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

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


def kept_part(ids: np.ndarray, keep: slice) -> np.ndarray:
    """Return what stays of tokens (T,); of a much longer row a copy, so that the rest does not stay in memory."""
    part = ids[keep.start : keep.stop]
    return part.copy() if 2 * len(part) < len(ids) else part


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


def kept_of_pieces(pieces: Iterable[np.ndarray], section: ProcessingSection) -> tuple[np.ndarray, int]:
    """Return what stays of a sequence whose tokens come in pieces, (T,) each, and how many there were.

    Not much more than what stays is held at a time. Raises Dropped as `kept` does.
    """
    limit, from_start = section.max_length, section.truncation_mode == "keep_start"
    held: deque[np.ndarray] = deque()
    size = length = 0
    for piece in pieces:
        length += len(piece)
        if from_start and size + len(piece) > limit:
            piece = piece[: limit - size].copy()
        held.append(piece)
        size += len(piece)
        while not from_start and size - len(held[0]) >= limit:
            size -= len(held.popleft())
    keep = kept(length, section)
    ids = np.concatenate(held)
    return (ids if from_start else ids[size - (keep.stop - keep.start) :]), length


class Packer:
    """Joins documents and cuts rows of exactly `length` tokens."""

    def __init__(self, length: int):
        self.length = length
        self.rest = np.zeros(0, dtype=np.int32)

    def add(self, ids: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the rows that are full with this document's ids (T,); what remains waits for the next one."""
        missing = self.length - len(self.rest)
        if len(ids) < missing:
            self.rest = np.concatenate([self.rest, ids])
            return
        yield np.concatenate([self.rest, ids[:missing]])
        full = (len(ids) - missing) // self.length * self.length + missing
        for start in range(missing, full, self.length):
            yield ids[start : start + self.length].copy()
        self.rest = ids[full:].copy()
