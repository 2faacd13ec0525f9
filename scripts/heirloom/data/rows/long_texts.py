"""Encode a very long text piece by piece: the tokens of the whole, in the memory of its ids, or of a piece of them.

What the tokenizer keeps of each token while it encodes takes about 25 times the text's bytes. So a long text goes
through it in windows that overlap. Two neighbours are joined in the middle of what they share, and only where both
made the very same tokens of all of that middle; there the edge of either window is far away. Where they did not, as
in one letter repeated without end, the text is encoded whole.
"""

from array import array
from collections.abc import Callable, Iterator
from functools import cached_property
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


class LongText:
    """A long text on its way through the tokenizer: its tokens piece by piece, or together as an encoding has them.

    Nothing is encoded before it is asked for.
    """

    def __init__(self, encode: Encode, text: str, add_special_tokens: bool, with_offsets: bool):
        """`encode` tracks characters; whether `whole` has them is `with_offsets`."""
        self.encode, self.text = encode, text
        self.add_special_tokens, self.with_offsets = add_special_tokens, with_offsets

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield the token ids of the text in order, (T,) int32 of some thousand each."""
        return (piece.ids for piece in self.closed_pieces())

    @cached_property
    def whole(self) -> LongEncoding:
        """All tokens; without `with_offsets` the offsets are empty, (0, 2)."""
        ids, offsets = array("i"), array("i")
        for piece in self.closed_pieces():
            ids.frombytes(piece.ids.tobytes())
            if self.with_offsets:
                offsets.frombytes(piece.offsets.tobytes())
        return LongEncoding(np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int32).reshape(-1, 2))

    @property
    def ids(self) -> np.ndarray:
        return self.whole.ids

    @property
    def offsets(self) -> np.ndarray:
        return self.whole.offsets

    def closed_pieces(self) -> Iterator[Piece]:
        """Yield the tokens in order, with those that the tokenizer puts around a text."""
        around = self.encode("a", self.add_special_tokens)
        added = np.array(around.special_tokens_mask, dtype=bool)
        before, after = int(np.argmin(added)), int(np.argmin(added[::-1]))
        yield added_tokens(around.ids[:before])
        yield from joined_pieces(self.encode, self.text)
        yield added_tokens(around.ids[len(around.ids) - after :])


def added_tokens(ids: list[int]) -> Piece:
    """Return tokens that stand for no character of a text."""
    return Piece(np.array(ids, np.int32), np.zeros((len(ids), 2), np.int32))


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
