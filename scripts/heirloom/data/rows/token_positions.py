"""Which tokens hold which characters of a text.

A fast tokenizer keeps track of that while it encodes, at a quarter of its speed. The tokens of a byte-level one
(GPT-2, Llama 3, Qwen and others) cut the text's bytes without loss, so there the lengths of the tokens tell it too;
the row where their sum is not the text's length is encoded again with tracking.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tokenizers
from tokenizers import Encoding, decoders, normalizers

from heirloom.data.rows.long_texts import LONG, LongText

Span = tuple[int, int]  # characters, or tokens, [start, end)
UNICODE_FORMS = (normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD)


class Located(NamedTuple):
    """The tokens of a row, and which of them are trained on."""

    ids: np.ndarray  # (T,) int32
    labels: np.ndarray  # (T,) int32: ids where they are trained on
    edges: tuple[list[int], list[int]]  # where each span of tokens begins, and where it ends, counted from `start`
    start: int
    count: int  # of those trained on

    @property
    def spans(self) -> list[Span]:
        """The spans of tokens that are trained on. Few rows are asked for them."""
        return [(first - self.start, last - self.start) for first, last in zip(*self.edges, strict=True)]


class TokenPositions:
    """Finds the tokens of character spans for one tokenizer."""

    def __init__(self, backend: tokenizers.Tokenizer):
        self.backend, self.normalizer = backend, backend.normalizer
        self.keeps_ascii = isinstance(self.normalizer, UNICODE_FORMS)
        self.byte_lengths = token_byte_lengths(backend) if isinstance(backend.decoder, decoders.ByteLevel) else None

    @property
    def tracked(self) -> bool:
        """Whether texts have to be encoded with tracking."""
        return self.byte_lengths is None

    def keeps(self, text: str) -> bool:
        """Tell whether the tokenizer's normalizer leaves a text as it is."""
        if self.normalizer is None or (self.keeps_ascii and text.isascii()):
            return True
        return self.normalizer.normalize_str(text) == text

    def token_spans(
        self, text: str, ids: np.ndarray, encoding: Encoding, spans: Sequence[Span], add_special_tokens: bool = False
    ) -> list[Span]:
        """Return the tokens [first, last) that hold a character of each span; a token across its edge belongs to it.

        `ids` (T,) are those of `encoding`, made of `text` with or without special tokens around it. Raises
        ValueError when a span has no token.
        """
        if self.byte_lengths is not None:
            ends = self.byte_lengths[ids].cumsum()
            size = len(text) if text.isascii() else len(text.encode())
            if len(ends) and ends[-1] == size and self.keeps(text):
                return [token_span_by_ends(ends, *byte_span(text, span)) for span in spans]
            if len(text) > LONG:
                encoding = LongText(self.encode_tracked, text, add_special_tokens, True)
            else:
                encoding = self.encode_tracked(text, add_special_tokens)
        offsets = np.asarray(encoding.offsets)
        return [token_span_by_offsets(offsets, *span) for span in spans]

    def encode_tracked(self, text: str, add_special_tokens: bool) -> Encoding:
        """Encode a text with the characters of each token."""
        return self.backend.encode(text, add_special_tokens=add_special_tokens)


def token_byte_lengths(backend: tokenizers.Tokenizer) -> np.ndarray:
    """Return (V,) the number of bytes that each token of a byte-level vocabulary stands for.

    Its tokens are written in an alphabet of one character a byte; added tokens are written as they are.
    """
    vocabulary = backend.get_vocab(with_added_tokens=False)
    added = backend.get_added_tokens_decoder()
    lengths = np.zeros(max([*vocabulary.values(), *added]) + 1, dtype=np.int64)
    for token, index in vocabulary.items():
        lengths[index] = len(token)
    for index, token in added.items():
        lengths[index] = len(token.content.encode())
    return lengths


def byte_span(text: str, span: Span) -> Span:
    """Return where a span of characters lies in the text's UTF-8 bytes."""
    if text.isascii():
        return span
    before = len(text[: span[0]].encode())
    return before, before + len(text[slice(*span)].encode())


def token_span_by_ends(ends: np.ndarray, start: int, end: int) -> Span:
    """Return the tokens [first, last) that hold a byte of [start, end); `ends` (T,): where each token ends."""
    first = int(ends.searchsorted(start, side="right"))
    last = int(ends.searchsorted(end, side="left")) + 1
    return first, min(last, len(ends))


def token_span_by_offsets(offsets: Sequence[Span] | np.ndarray, start: int, end: int) -> Span:
    """Return the tokens [first, last) that hold a character of [start, end), from every token's characters (T, 2).

    A tokenizer that trims its offsets gives white space no characters but the place where it ends.
    """
    left, right = np.asarray(offsets).reshape(-1, 2).T
    inside = np.where(left < right, (left < end) & (right > start), (start < left) & (left <= end)).nonzero()[0]
    if not len(inside):
        raise ValueError(f"the tokenizer makes no token of the characters {start} to {end} that are trained on")
    return int(inside[0]), int(inside[-1]) + 1


def located(
    positions: TokenPositions,
    texts: Sequence[str],
    parts: Sequence[np.ndarray],
    spans: Sequence[Sequence[Span]],
    ignored: int,
) -> list[Located | None]:
    """Return the tokens of each text and those of its character `spans`, by the lengths of the tokens.

    `parts`: the token ids of each text, (T,) int32, of a tokenizer that needs no tracking. `ignored`: the label of what
    is not trained on. None for a text whose tokens do not tell it, which has to be looked at alone. Array operations
    over a batch cost a tenth of those over each row.
    """
    bounds = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in parts], out=bounds[1:])
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *parts])
    ends = np.zeros(len(flat) + 1, dtype=np.int64)
    np.cumsum(positions.byte_lengths[flat], out=ends[1:])  # ends[t]: bytes of the batch before token t
    sizes = np.array([len(text) if text.isascii() else len(text.encode()) for text in texts])
    told = (np.diff(ends[bounds]) == sizes).tolist()

    before = ends[bounds[:-1]].tolist()
    edges = [
        (before[row] + byte)
        for row, text in enumerate(texts)
        for span in spans[row]
        for byte in (span if text.isascii() else byte_span(text, span))
    ]
    begin, end = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    first = ends[1:].searchsorted(begin, side="right")
    last = np.minimum(ends[1:].searchsorted(end, side="left") + 1, len(flat))
    change = np.bincount(first, minlength=len(flat) + 1) - np.bincount(last, minlength=len(flat) + 1)
    trained = change.cumsum()[: len(flat)] > 0
    labels = np.where(trained, flat, np.int32(ignored))
    counts = np.diff(np.concatenate([[0], trained.cumsum()])[bounds]).tolist()

    found: list[Located | None] = []
    at, edge = 0, bounds.tolist()
    firsts, lasts = first.tolist(), last.tolist()
    for row, text in enumerate(texts):
        start, stop, upto = edge[row], edge[row + 1], at + len(spans[row])
        if told[row] and positions.keeps(text):
            own = (firsts[at:upto], lasts[at:upto])
            found.append(Located(flat[start:stop], labels[start:stop], own, start, counts[row]))
        else:
            found.append(None)
        at = upto
    return found
