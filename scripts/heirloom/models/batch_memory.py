"""What to do where memory does not suffice for a batch: its halves, one after the other."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size

Row = TypeVar("Row")
Result = TypeVar("Result")


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
