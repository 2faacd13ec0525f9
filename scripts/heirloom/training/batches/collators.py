"""Make batches of pre-tokenized rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.errors import HeirloomError
from heirloom.models.batches import padded_batch


@dataclass(frozen=True)
class CausalCollator:
    """Pad rows of `input_ids` (and `labels`, by default the same) on the right to the longest of the batch.

    `pad_to_multiple_of` makes T a multiple of it: 8 suits the tensor cores of GPUs.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and labels, each (B, T). Raises HeirloomError: see check_labels."""
        for row in rows:
            check_labels(row)
        labels = [row.get("labels", row["input_ids"]) for row in rows]
        return {
            "input_ids": padded_batch([row["input_ids"] for row in rows], self.pad_token_id, self.pad_to_multiple_of),
            "attention_mask": padded_batch([attention_mask(row) for row in rows], 0, self.pad_to_multiple_of),
            "labels": padded_batch(labels, IGNORED, self.pad_to_multiple_of),
        }


def attention_mask(row: dict[str, Any]) -> Sequence[int]:
    """Return the row's own mask, which rows have that are filled up to max_length already, or ones (T,)."""
    return row.get("attention_mask", [1] * len(row["input_ids"]))


def check_labels(row: dict[str, Any]) -> None:
    """Raise HeirloomError when the labels do not stand beside the input_ids, token by token.

    Filled up to one length they would train nonsense that nothing else tells.
    """
    tokens, labels = len(row["input_ids"]), len(row.get("labels", row["input_ids"]))
    if tokens != labels:
        raise HeirloomError(
            f"training.collator: a row has {tokens} input_ids and {labels} labels, and this model needs a label for "
            "each token: choose an encoder-decoder base with trainer: seq2seq and collator: seq2seq, or another dataset"
        )
