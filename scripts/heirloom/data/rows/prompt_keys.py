"""Short keys of prompts, by which rows with the same prompt are found: in a drawn test split, and across datasets.

A prompt is the text that the model gets to see before an answer, as it is rendered: ids and times that a chat
template does not write make no difference. White space makes none either. Of plain text, which has no prompt, the
whole text is taken.
"""

import hashlib
from collections.abc import Iterable, Iterator

SLICE = 1 << 16  # characters that are taken apart at a time: a text may be a whole book


def prompt_key(text: str) -> int:
    """Return a 64-bit number for a prompt, the same for texts that differ in white space only."""
    return next(prompt_keys(text, [len(text)]))


def prompt_keys(text: str, ends: Iterable[int]) -> Iterator[int]:
    """Yield the key of text[:end] for each of `ends`, which ascend: those of a chat's turns take one reading."""
    digest, at = hashlib.blake2b(digest_size=8), 0
    for end in ends:
        while at < end:
            upto = min(end, at + SLICE)
            digest.update("".join(text[at:upto].split()).encode("utf-8", "surrogatepass"))
            at = upto
        yield int.from_bytes(digest.copy().digest(), "little")
