"""The bytes that each token of a row stands for, so that any part of the row can be shown as it is written.

`decode` of a part does not tell: it drops a space at its beginning, and writes half of a character as a mark.
"""

import re
from collections.abc import Sequence

import tokenizers

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
SPACE = "▁"  # how SentencePiece writes a space


class TokenTexts:
    """Tells the bytes of the tokens of one tokenizer."""

    def __init__(self, backend: tokenizers.Tokenizer):
        self.backend = backend
        self.added = {index: token.content for index, token in backend.get_added_tokens_decoder().items()}
        steps = str(backend.decoder)
        self.by_bytes = steps.startswith("ByteLevel")
        self.by_pieces = "Metaspace" in steps or ("Replace" in steps and SPACE in steps)
        self.alphabet = byte_alphabet() if self.by_bytes else {}

    def parts(self, ids: Sequence[int], edges: Sequence[int]) -> list[bytes]:
        """Return the bytes of the tokens between neighbours of `edges`, which ascend from 0."""
        if self.by_bytes or self.by_pieces:
            single = [self.bytes_of(index) for index in ids[: edges[-1]]]
            return [b"".join(single[start:end]) for start, end in zip(edges, edges[1:], strict=False)]
        # of another kind (WordPiece): what each part adds to the text before it
        texts = [self.backend.decode(list(ids[:end]), skip_special_tokens=False) for end in edges]
        pairs = zip(texts, texts[1:], strict=False)
        return [(text[len(before) :] if text.startswith(before) else text).encode() for before, text in pairs]

    def bytes_of(self, index: int) -> bytes:
        """Return the bytes of one token."""
        token = self.added.get(index) or self.backend.id_to_token(index) or ""
        byte = BYTE.fullmatch(token) if self.by_pieces else None
        if byte:
            return bytes([int(byte[1], 16)])
        if index in self.added:
            return token.encode()
        if self.by_bytes:
            return bytes(self.alphabet[char] for char in token if char in self.alphabet)
        return token.replace(SPACE, " ").encode()


def byte_alphabet() -> dict[str, int]:
    """Return which byte each character of a byte-level vocabulary stands for, as GPT-2 has it."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + at): byte for at, byte in enumerate(hidden)}
