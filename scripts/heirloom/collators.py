"""Make batches of pre-tokenized rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100
"""The label of a token that is not trained on: torch.nn.functional.cross_entropy's ignore_index."""


@dataclass(frozen=True)
class CausalCollator:
    """Pad rows of `input_ids` (and `labels`, by default the same) on the right to the longest of the batch.

    `pad_to_multiple_of` makes T a multiple of it: 8 suits the tensor cores of GPUs.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and labels, each (B, T)."""
        ids = [torch.tensor(row["input_ids"]) for row in rows]
        masks = [torch.tensor(row.get("attention_mask", [1] * len(row["input_ids"]))) for row in rows]
        labels = [torch.tensor(row.get("labels", row["input_ids"])) for row in rows]
        return {
            "input_ids": padded_batch(ids, self.pad_token_id, self.pad_to_multiple_of),
            "attention_mask": padded_batch(masks, 0, self.pad_to_multiple_of),
            "labels": padded_batch(labels, IGNORED, self.pad_to_multiple_of),
        }


def padded_batch(sequences: Sequence[torch.Tensor], value: int, multiple: int | None = None) -> torch.Tensor:
    """Return sequences (T_i,) as (B, T), filled with `value` on the right; T is the longest, or the next `multiple`."""
    batch = pad_sequence(list(sequences), batch_first=True, padding_value=value)
    return extended(batch, value, multiple)


def extended(batch: torch.Tensor, value: int, multiple: int | None, side: str = "right") -> torch.Tensor:
    """Fill (B, T) with `value` up to the next multiple of `multiple`."""
    missing = -batch.shape[1] % multiple if multiple else 0
    return torch.nn.functional.pad(batch, (missing, 0) if side == "left" else (0, missing), value=value)
