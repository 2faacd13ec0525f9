"""Batches: token ids as one tensor, for training and for answers alike; halves, where memory does not suffice."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.nn.utils.rnn import pad_sequence

Row = TypeVar("Row")
Result = TypeVar("Result")


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


def in_halves(compute: Callable[[Sequence[Row]], list[Result]], batch: Sequence[Row], word: str) -> list[Result]:
    """Return `compute(batch)`, a result a row; where memory does not suffice, those of its halves, and say so.

    word: what is done to the batch, for that line: "answered". Not for ranks that compute a batch together, some of
    which may have memory enough. Raises what `compute` does, and for a single row the lack of memory too.
    """
    try:
        return compute(batch)
    except RuntimeError as error:
        if len(batch) == 1 or not should_reduce_batch_size(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = -(-len(batch) // 2)
    print(f"memory does not suffice for a batch of {len(batch)}: it is {word} in halves of {half}", flush=True)
    return [*in_halves(compute, batch[:half], word), *in_halves(compute, batch[half:], word)]
