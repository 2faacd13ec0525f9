"""Short keys of prompts, by which rows with the same prompt are found: in a drawn test split, and across datasets.

A prompt is the text that the model gets to see before an answer, as it is rendered: ids and times that a chat
template does not write make no difference. White space makes none either. Of plain text, which has no prompt, the
whole text is taken.
"""

from collections.abc import Iterable
from hashlib import blake2b

SLICE = 1 << 16  # characters that are taken apart at a time: a text may be a whole book
ASCII_SPACES = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"


def prompt_key(text: str) -> int:
    """Return a 64-bit number for a prompt, the same for texts that differ in white space only."""
    return prompt_keys(text, [len(text)])[0]


def prompt_keys(text: str, ends: Iterable[int]) -> list[int]:
    """Return the key of text[:end] for each of `ends`, which ascend: those of a chat's turns take one reading."""
    digest, at, keys = blake2b(digest_size=8), 0, []
    for end in ends:
        while at < end:
            upto = min(end, at + SLICE)
            digest.update(without_spaces(text[at:upto]))
            at = upto
        keys.append(int.from_bytes(digest.digest(), "little"))  # more may be added after that
    return keys


def without_spaces(text: str) -> bytes:
    """Return a text in UTF-8 without its white space."""
    if text.isascii():
        return text.encode().translate(None, ASCII_SPACES)
    return "".join(text.split()).encode("utf-8", "surrogatepass")
