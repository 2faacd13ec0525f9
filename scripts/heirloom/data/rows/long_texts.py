"""Encode a very long text piece by piece: the tokens of the whole, in the memory of its ids.

What the tokenizer keeps of each token while it encodes takes about 25 times the text's bytes. So a long text goes
through it in windows that overlap. Two neighbours are joined in the middle of what they share, and only where both
made the very same tokens of all of that middle; there the edge of either window is far away. Where they did not, as
in one letter repeated without end, the text is encoded whole.
"""

from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding

LONG = 200_000  # characters from which a text is encoded piece by piece
WINDOW, OVERLAP = 30_000, 1_500  # characters
Encode = Callable[[str, bool], Encoding]


class LongEncoding(NamedTuple):
    """What is kept of the encoding of a long text."""

    ids: np.ndarray  # (T,) int32
    offsets: np.ndarray  # (T, 2) int32: characters [start, end) of each token; (0, 0) of those that were added


class Piece(NamedTuple):
    """Tokens of one window, with the characters that they stand for in the text."""

    ids: np.ndarray
    offsets: np.ndarray

    def between(self, start: int, end: int) -> "Piece":
        """Return the tokens that begin at a character of [start, end)."""
        first, last = np.searchsorted(self.offsets[:, 0], [start, end])
        return Piece(self.ids[first:last], self.offsets[first:last])


def encode_long(encode: Encode, text: str, add_special_tokens: bool, with_offsets: bool) -> LongEncoding:
    """Return the tokens of a text as `encode(text, add_special_tokens)` makes them.

    `encode` tracks characters. Without `with_offsets` the offsets are empty, (0, 2).
    """
    ids, offsets = array("i"), array("i")
    for piece in joined_pieces(encode, text):
        ids.frombytes(piece.ids.tobytes())
        if with_offsets:
            offsets.frombytes(piece.offsets.tobytes())
    around = encode("a", add_special_tokens)
    added = np.array(around.special_tokens_mask, dtype=bool)
    before, after = int(np.argmin(added)), int(np.argmin(added[::-1]))
    first, last = around.ids[:before], around.ids[len(around.ids) - after :]
    whole = np.frombuffer(ids, dtype=np.int32)
    places = np.frombuffer(offsets, dtype=np.int32).reshape(-1, 2)
    if before or after:
        whole = np.concatenate([np.array(first, np.int32), whole, np.array(last, np.int32)])
        if with_offsets:
            places = np.pad(places, ((before, after), (0, 0)))
    return LongEncoding(whole, places)


def joined_pieces(encode: Encode, text: str) -> Iterator[Piece]:
    """Yield the tokens of a text in order, those of a window at a time.

    Where two windows do not agree, what was not yielded yet is that of the whole text.
    """
    begin, last = 0, None
    for start, end in windows(len(text)):
        piece = piece_of(encode, text, start, end)
        if last is not None:
            shared = (begin, start + OVERLAP - OVERLAP // 4)
            if not equal(last.between(*shared), piece.between(*shared)):
                yield piece_of(encode, text, 0, len(text)).between(begin, len(text) + 1)
                return
        upto = end - OVERLAP + OVERLAP // 4 if end < len(text) else len(text) + 1
        yield piece.between(begin, upto)
        begin, last = upto, piece.between(upto, len(text) + 1)


def equal(one: Piece, other: Piece) -> bool:
    """Tell whether two pieces hold the same tokens of the same characters, and at least one."""
    return len(one.ids) > 0 and np.array_equal(one.ids, other.ids) and np.array_equal(one.offsets, other.offsets)


def windows(size: int) -> Iterator[tuple[int, int]]:
    """Yield the characters [start, end) of each window; each begins OVERLAP before the one before it ends."""
    start = 0
    while True:
        end = min(size, start + WINDOW)
        if size - end < OVERLAP:
            end = size
        yield start, end
        if end == size:
            return
        start = end - OVERLAP


def piece_of(encode: Encode, text: str, start: int, end: int) -> Piece:
    """Return the tokens of a window."""
    encoding = encode(text[start:end], False)
    ids = np.array(encoding.ids, dtype=np.int32)
    offsets = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2) + np.int32(start)
    return Piece(ids, offsets)
