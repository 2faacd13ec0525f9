"""Sequences of token ids as one tensor, for training and for answers alike."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn.utils.rnn import pad_sequence


def padded_batch(
    sequences: Sequence[Sequence[int] | torch.Tensor],
    value: int,
    multiple: int | None = None,
    side: Literal["left", "right"] = "right",
) -> torch.Tensor:
    """Return sequences (T_i,) as (B, T), filled with `value`; T is the longest, or the next multiple of `multiple`."""
    tensors = [torch.as_tensor(sequence, dtype=torch.int64) for sequence in sequences]
    batch = pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)
    missing = -batch.shape[1] % multiple if multiple else 0
    return torch.nn.functional.pad(batch, (missing, 0) if side == "left" else (0, missing), value=value)
