"""Token ids and labels of many chats at once: array operations over a batch cost a tenth of those over each row."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding

from heirloom.data.rows.masking import IGNORED
from heirloom.data.rows.token_positions import Span, TokenPositions, byte_span


class Located(NamedTuple):
    """The tokens of a row, and which of them are trained on."""

    ids: np.ndarray  # (T,) int32
    labels: np.ndarray  # (T,) int32: ids where they are trained on, -100 elsewhere
    spans: list[Span]  # tokens
    count: int  # of those trained on


def located(
    positions: TokenPositions, texts: Sequence[str], encodings: Sequence[Encoding], spans: Sequence[Sequence[Span]]
) -> list[Located | None]:
    """Return the tokens of each text and those of its character `spans`, by the lengths of the tokens.

    None for a text whose tokens do not tell it (heirloom.data.rows.token_positions), which has to be looked at alone.
    """
    if positions.byte_lengths is None:
        return [None] * len(texts)
    lists = [encoding.ids for encoding in encodings]
    bounds = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in lists], out=bounds[1:])
    flat = np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(bounds[-1]))
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
    labels = np.where(trained, flat, np.int32(IGNORED))
    counts = np.diff(np.concatenate([[0], trained.cumsum()])[bounds]).tolist()

    found: list[Located | None] = []
    at, edge = 0, bounds.tolist()
    firsts, lasts = first.tolist(), last.tolist()
    for row, text in enumerate(texts):
        start, stop, upto = edge[row], edge[row + 1], at + len(spans[row])
        if told[row] and positions.keeps(text):
            own = [(one - start, other - start) for one, other in zip(firsts[at:upto], lasts[at:upto], strict=True)]
            found.append(Located(flat[start:stop], labels[start:stop], own, counts[row]))
        else:
            found.append(None)
        at = upto
    return found
