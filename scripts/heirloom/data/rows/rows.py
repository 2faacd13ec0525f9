"""What the makers of rows (text_rows, chat_rows, preference_rows, seq2seq_rows) have in common.

A maker works in two steps, so that many texts are encoded at once: `prepare` gives the texts of a record, `finish`
takes their encodings and gives rows. Both raise ValueError for a record that cannot be used and Dropped for one
that is left out for a reason.
"""

from typing import Any, NamedTuple

import numpy as np

from heirloom.config.sections.row_kinds import IGNORED


class Prepared(NamedTuple):
    """The texts of a record that have to be encoded, and what `finish` needs to know besides."""

    texts: list[str]
    add_special_tokens: bool
    details: Any = None


class FinishedRow(NamedTuple):
    """A row as it is stored, with what the statistics count, in tokens."""

    columns: dict[str, Any]
    length: int  # of its longest sequence
    trained: int
    cut: int = 0  # lost by truncation
    second: int = 0  # length of the other sequence, of a preference pair or of source and target

    @property
    def tokens(self) -> int:
        """Tokens that a model reads for this row."""
        return self.length + self.second


def padded(columns: dict[str, Any], length: int, pad_token_id: int) -> dict[str, Any]:
    """Fill input_ids and labels (T,) up to `length` at the right and add the attention mask (length,)."""
    ids = columns["input_ids"]
    missing = (0, max(0, length - len(ids)))
    return {
        **columns,
        "input_ids": np.pad(ids, missing, constant_values=pad_token_id),
        "labels": np.pad(columns.get("labels", ids), missing, constant_values=IGNORED),
        "attention_mask": np.pad(np.ones_like(ids), missing),
    }
