"""Training masks: from the characters or tokens that are trained on to labels, -100 elsewhere.

Which characters belong to the assistant is found in heirloom.turns. Here: which tokens these are, and the masks by
response template.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tokenizers import Encoding

IGNORED = -100  # the label that torch's cross entropy leaves out
Span = tuple[int, int]

TOKEN_IDS = re.compile(r"\s*\d+(\s*,\s*\d+)*\s*")


class Pattern(NamedTuple):
    """What opens a response or an instruction: a text, or token ids."""

    text: str | None
    ids: tuple[int, ...] | None

    @classmethod
    def parse(cls, template: str) -> "Pattern":
        """Read a template as the config gives it: `### Response:` or `128006,78191,128007`."""
        if TOKEN_IDS.fullmatch(template):
            return cls(None, tuple(int(part) for part in template.split(",")))
        return cls(template, None)


def token_spans(encoding: Encoding, spans: Sequence[Span]) -> list[Span]:
    """Return the tokens [first, last) that hold a character of each span; a token across its edge belongs to it.

    Raises ValueError when a span has no token.
    """
    found = []
    for start, end in spans:
        first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
        if first is None or last is None:  # white space without a token of its own, or left out of the offsets
            found.append(token_span_by_offsets(encoding.offsets, start, end))
            continue
        # the bytes of one character may be several tokens, of which char_to_token gives the first
        while last + 1 < len(encoding) and encoding.token_to_chars(last + 1)[0] < end:
            last += 1
        found.append((first, last + 1))
    return found


def token_span_by_offsets(offsets: Sequence[Span], start: int, end: int) -> Span:
    """Return the tokens [first, last) that hold a character of [start, end), from every token's characters.

    A byte-level tokenizer that trims its offsets gives white space no characters but the place where it ends.
    """
    inside = [
        index
        for index, (left, right) in enumerate(offsets)
        if (left < end and right > start if left < right else start < left <= end)
    ]
    if not inside:
        raise ValueError(f"the tokenizer makes no token of the characters {start} to {end} that are trained on")
    return inside[0], inside[-1] + 1


def labels_of(ids: Sequence[int], trained: Sequence[Span]) -> list[int]:
    """Return the labels of a row: its ids in the `trained` token spans, -100 elsewhere."""
    labels = [IGNORED] * len(ids)
    for first, last in trained:
        labels[first:last] = ids[first:last]
    return labels


def occurrences(pattern: Pattern, ids: Sequence[int], text: str, encoding: Encoding) -> list[Span]:
    """Return the token spans at which a pattern occurs.

    A text is looked for in the text, not among tokens: the same words may be other tokens in another context.
    """
    if pattern.ids is not None:
        size = len(pattern.ids)
        return [(at, at + size) for at in range(len(ids) - size + 1) if tuple(ids[at : at + size]) == pattern.ids]
    spans = [match.span() for match in re.finditer(re.escape(pattern.text), text)]
    return token_spans(encoding, spans)


def spans_by_templates(
    response: Pattern, instruction: Pattern | None, ids: Sequence[int], text: str, encoding: Encoding
) -> list[Span]:
    """Return the token spans that follow a response template, each up to the next instruction template.

    Without an instruction template only what follows the last response template is trained on, as in TRL's former
    DataCollatorForCompletionOnlyLM. Raises ValueError when there is no response.
    """
    starts = [end for _, end in occurrences(response, ids, text, encoding)]
    if not starts:
        raise ValueError("the response template does not occur in it, so nothing would be trained on")
    if instruction is None:
        return [(starts[-1], len(ids))]
    stops = [start for start, _ in occurrences(instruction, ids, text, encoding)]
    spans: list[Span] = []
    for start in starts:
        if spans and start <= spans[-1][1]:
            continue  # a response template inside a response
        spans.append((start, min((stop for stop in stops if stop >= start), default=len(ids))))
    return [(first, last) for first, last in spans if first < last]
