"""Pack rows of tokens into longer ones of up to `seq_length` tokens when a training starts.

Packed rows (SFT) keep the lengths of their documents in the column `seq_lengths`; a padding-free collator makes
position ids of them that begin anew at each document, and attention stays within it (document_isolation.py).
Joined rows (pre-training) are plain text without borders, as `processing.packed` makes them.

The rows go to a file in a folder for work in progress: `datasets` would write beside the processed dataset.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow
import pyarrow.compute
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from trl import pack_dataset

from heirloom.distributed import barrier, is_first_rank_of_host, rank, say
from heirloom.errors import HeirloomError
from heirloom.training.callbacks.resuming import scratch_folder
from heirloom.training.inputs.training_data import TrainingData, token_counts

PackingStrategy = Literal["bfd", "bfd_split", "wrapped"]
ROWS_AT_A_TIME = 10_000
"""Rows that are packed together: more would fill the packed rows a little better and hold more in memory."""


def packed_data(data: TrainingData, seq_length: int, strategy: PackingStrategy, work: Path | str) -> TrainingData:
    """Return the training rows packed to at most `seq_length` tokens; held-out rows stay as they are.

    bfd keeps rows whole (best fit, the longest first), bfd_split does after it has cut those longer than `seq_length`,
    wrapped fills every packed row to the last token and cuts rows wherever that needs it. No token is lost.
    Every rank calls it. Raises HeirloomError for rows that are padded, and with bfd for rows that are too long.
    """
    check_not_padded(data.train, "packing")
    train = written_by_one_rank(work, "packed-train", partial(pack, data.train, seq_length, strategy))
    return replace(data, train=train)


def joined_data(data: TrainingData, seq_length: int, work: Path | str) -> TrainingData:
    """Return all rows of both splits joined and cut to exactly `seq_length` tokens.

    Up to `seq_length` - 1 training tokens at the end do not fill a row and are left out, as the log says; held-out ones
    stay, in a shorter row. Every rank calls it. Raises HeirloomError for rows that are padded or too few.
    """
    joined = {}
    for split in ("train", "test"):
        rows = getattr(data, split)
        if rows is not None:
            check_not_padded(rows, "seq_length")
            write = partial(join, rows, seq_length, split == "test")
            joined[split] = written_by_one_rank(work, f"joined-{split}", write)
    return replace(data, **joined)


def written_by_one_rank(work: Path | str, name: str, write: Callable[[Path], None]) -> Dataset:
    """Return the rows that `write` puts into a file of the work folder; one rank of each host writes it."""
    file = scratch_folder(work) / "rows" / f"{name}.arrow"
    if is_first_rank_of_host():
        own = file.with_name(f"{name}.{rank()}.arrow")  # hosts may share the folder
        own.parent.mkdir(parents=True, exist_ok=True)
        write(own)
        own.replace(file)
    barrier()
    return Dataset.from_file(str(file))


def pack(rows: Dataset, seq_length: int, strategy: PackingStrategy, file: Path) -> None:
    """Write `rows` to `file`, packed, with the lengths of their documents as `seq_lengths`."""
    if strategy == "wrapped":
        write_tables(cut(rows, seq_length), file)
    else:
        if strategy == "bfd":
            check_not_too_long(rows, seq_length)
        own_file = {"cache_file_name": str(file), "load_from_cache_file": False}
        with without_progress_bars():
            pack_dataset(rows, seq_length, strategy, map_kwargs={"batch_size": ROWS_AT_A_TIME, **own_file})
    packed = Dataset.from_file(str(file))
    share = total_tokens(packed) / (len(packed) * seq_length)
    say(f"packed {len(rows):,} rows into {len(packed):,} of up to {seq_length:,} tokens ({strategy}), {share:.1%} full")


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep the bars of `datasets` out of the log."""
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def join(rows: Dataset, seq_length: int, keep_rest: bool, file: Path) -> None:
    """Write `rows` to `file`, joined and cut to `seq_length` tokens, without their borders."""
    tables = (table.drop_columns("seq_lengths") for table in cut(rows, seq_length, keep_rest))
    write_tables(tables, file)
    joined = Dataset.from_file(str(file))
    left_out = total_tokens(rows) - total_tokens(joined)
    if not len(joined):
        raise HeirloomError(
            f"training.seq_length is {seq_length}, and all rows to train on together hold {left_out} tokens: "
            "make it smaller, or train on more text"
        )
    left = f", {left_out:,} tokens at the end fill no row and are left out" if left_out else ""
    say(f"joined {len(rows):,} rows into {len(joined):,} of {seq_length:,} tokens{left}")


def cut(rows: Dataset, seq_length: int, keep_rest: bool = True) -> Iterator[pyarrow.Table]:
    """Join the rows and yield them cut to `seq_length` tokens, with the lengths of the pieces as `seq_lengths`.

    A document that goes on in the next row counts as a new one there. The last row may be shorter: `keep_rest`.
    """
    rest = {name: np.empty(0, dtype=np.int32) for name in rows.column_names}
    pieces = np.empty(0, dtype=np.int64)  # lengths of the documents in `rest`
    for table in arrow_tables(rows):
        tokens = {name: np.concatenate([rest[name], flat(table, name)]) for name in rest}
        document_ends = np.cumsum(np.concatenate([pieces, lengths(table)]))
        full = document_ends[-1] - document_ends[-1] % seq_length
        ends = np.union1d(document_ends, np.arange(seq_length, full + 1, seq_length))
        ends = ends[ends > 0]  # an empty document at the start
        yield packed_table({name: values[:full] for name, values in tokens.items()}, ends[ends <= full], seq_length)
        rest = {name: values[full:] for name, values in tokens.items()}
        pieces = np.diff(ends[ends > full], prepend=full)
    if keep_rest and len(pieces):
        yield packed_table(rest, np.cumsum(pieces), seq_length)


def packed_table(tokens: dict[str, np.ndarray], ends: np.ndarray, seq_length: int) -> pyarrow.Table:
    """Return columns of tokens (N,) as rows of `seq_length`; `ends` says where documents and rows end in them."""
    row_of = (ends - 1) // seq_length
    row_ends = ends[np.flatnonzero(np.diff(row_of, append=-1))]
    columns = {name: list_array(values, row_ends) for name, values in tokens.items()}
    pieces = np.diff(ends, prepend=0).astype(np.int32)
    return pyarrow.table({**columns, "seq_lengths": list_array(pieces, np.cumsum(np.bincount(row_of)))})


def list_array(values: np.ndarray, ends: np.ndarray) -> pyarrow.ListArray:
    """Return `values` as lists that end at `ends`."""
    return pyarrow.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), pyarrow.array(values))


def write_tables(tables: Iterator[pyarrow.Table], file: Path) -> None:
    """Write tables of one schema as `datasets` has them."""
    first = next(tables)
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, first.schema) as stream:
        stream.write_table(first)
        for table in tables:
            stream.write_table(table)


def arrow_tables(rows: Dataset) -> Iterator[pyarrow.Table]:
    """Yield the rows, ROWS_AT_A_TIME, without making Python objects of their tokens."""
    yield from rows.with_format("arrow").iter(ROWS_AT_A_TIME)


def lengths(table: pyarrow.Table) -> np.ndarray:
    """Return the number of tokens of each row."""
    return pyarrow.compute.list_value_length(table["input_ids"]).to_numpy()


def flat(table: pyarrow.Table, column: str) -> np.ndarray:
    """Return the tokens of all rows in one piece."""
    return pyarrow.compute.list_flatten(table[column]).to_numpy()


def total_tokens(rows: Dataset) -> int:
    return int(token_counts(rows, "input_ids").sum())


def check_not_padded(rows: Dataset, key: str) -> None:
    if "attention_mask" in rows.column_names:
        raise HeirloomError(
            f"training.{key}: rows of the dataset are filled up to max_length already, and joined they would be mostly "
            f"padding: delete processing.padding in the dataset's file, or delete {key}"
        )


def check_not_too_long(rows: Dataset, seq_length: int) -> None:
    counts = token_counts(rows, "input_ids")
    too_long, longest = int((counts > seq_length).sum()), int(counts.max())
    if too_long:
        raise HeirloomError(
            f"training.seq_length is {seq_length}, and {too_long:,} of {len(rows):,} rows are longer, up to {longest} "
            f"tokens: make it at least {longest}, or cut them with training.packing_strategy: bfd_split"
        )
