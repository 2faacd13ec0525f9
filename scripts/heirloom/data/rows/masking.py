"""Training masks: the labels of a row from the tokens that are trained on, and masks by response template.

Which characters belong to the assistant is found in heirloom.data.chats.turns, which tokens these are in
heirloom.data.rows.token_positions.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding

from heirloom.config.sections.processing import TrainOnTemplates
from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.rows.token_positions import Span, TokenPositions

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


def labels_of(ids: np.ndarray, trained: Sequence[Span]) -> np.ndarray:
    """Return the labels (T,) of a row: its ids (T,) in the `trained` token spans, -100 elsewhere."""
    labels = np.full_like(ids, IGNORED)
    for first, last in trained:
        labels[first:last] = ids[first:last]
    return labels


class TemplateMask:
    """Trains on what follows a response template, each time up to the next instruction template.

    Without an instruction template only what follows the last response template is trained on, as in TRL's former
    DataCollatorForCompletionOnlyLM.
    """

    def __init__(self, templates: TrainOnTemplates, positions: TokenPositions, add_special_tokens: bool):
        self.response = Pattern.parse(templates.response_template)
        instruction = templates.instruction_template
        self.instruction = Pattern.parse(instruction) if instruction is not None else None
        self.positions, self.add_special_tokens = positions, add_special_tokens

    def spans(self, text: str, ids: np.ndarray, encoding: Encoding) -> list[Span]:
        """Return the token spans of a row that are trained on. Raises ValueError when there is no response."""
        starts = [end for _, end in self.occurrences(self.response, text, ids, encoding)]
        if not starts:
            raise ValueError("the response template does not occur in it, so nothing would be trained on")
        if self.instruction is None:
            return [(starts[-1], len(ids))]
        stops = [start for start, _ in self.occurrences(self.instruction, text, ids, encoding)]
        spans: list[Span] = []
        for start in starts:
            if spans and start <= spans[-1][1]:
                continue  # a response template inside a response
            spans.append((start, min((stop for stop in stops if stop >= start), default=len(ids))))
        return [(first, last) for first, last in spans if first < last]

    def occurrences(self, pattern: Pattern, text: str, ids: np.ndarray, encoding: Encoding) -> list[Span]:
        """Return the token spans at which a pattern occurs.

        A text is looked for in the text, not among tokens: the same words may be other tokens in another context.
        """
        if pattern.ids is not None:
            size, wanted = len(pattern.ids), list(pattern.ids)
            found = np.flatnonzero(ids == wanted[0])
            return [(int(at), int(at) + size) for at in found if ids[at : at + size].tolist() == wanted]
        spans = [match.span() for match in re.finditer(re.escape(pattern.text), text)]
        return self.positions.token_spans(text, ids, encoding, spans, self.add_special_tokens) if spans else []
