"""What a stage's program prints, as a terminal may have it: text, and no orders to the terminal."""

import codecs
import os
from collections.abc import Callable

from heirloom.errors import plain


def for_descriptor(descriptor: int) -> Callable[[bytes], bytes]:
    """Return what makes of output what may be written to a file descriptor: for a file or a pipe, all as it is."""
    return PlainOutput() if os.isatty(descriptor) else bytes


class PlainOutput:
    """Makes text of output that comes in pieces: escapes and turned writing as their codes; progress still redraws.

    A program shows rows, names and errors of anybody's, and libraries print what they were given.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character may lie across pieces

    def __call__(self, piece: bytes) -> bytes:
        """Return the next piece of the output for the terminal."""
        return "\r".join(map(plain, self._decoder.decode(piece).split("\r"))).encode()
