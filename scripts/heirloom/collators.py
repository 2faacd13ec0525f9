"""Make batches of pre-tokenized rows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100
"""The label of a token that is not trained on: torch.nn.functional.cross_entropy's ignore_index."""


@dataclass(frozen=True)
class CausalCollator:
    """Pad rows of `input_ids` (and `labels`, by default the same) on the right to the longest of the batch."""

    pad_token_id: int

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and labels, each (B, T)."""
        ids = [torch.tensor(row["input_ids"]) for row in rows]
        labels = [torch.tensor(row.get("labels", row["input_ids"])) for row in rows]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        }
