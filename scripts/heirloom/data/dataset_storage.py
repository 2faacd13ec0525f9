"""Write a processed dataset so that `datasets.load_from_disk` reads it and equal rows give equal bytes.

`datasets` itself would do: but its fingerprints depend on the process that made the rows, and it writes rows to a
cache first, and importing it takes longer than a small dataset. Here rows go straight to Arrow files, a batch at a
time, and the fingerprint is the hash of the bytes.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from heirloom.content_hashes import content_hash
from heirloom.json_files import write_json

ROWS_AT_A_TIME = 1000  # rows of a record batch
VALUES_AT_A_TIME = 32_000_000  # token ids and characters of a record batch, about: rows may be long
SHARD_BYTES = 500_000_000  # as `datasets` has it

# What a column holds: its Arrow type, and what `datasets` calls it.
TYPES = {
    "ids": (pyarrow.list_(pyarrow.int32()), {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"}),
    "text": (pyarrow.string(), {"dtype": "string", "_type": "Value"}),
    "truth": (pyarrow.bool_(), {"dtype": "bool", "_type": "Value"}),
}


class SplitWriter:
    """Writes one split, in shards; use as a context manager."""

    def __init__(self, folder: Path, columns: dict[str, str]):
        """Make `folder`. `columns` names each column's type, one of TYPES."""
        self.folder = folder
        self.features = {name: TYPES[kind][1] for name, kind in columns.items()}
        self.schema = pyarrow.schema(
            [(name, TYPES[kind][0]) for name, kind in columns.items()],
            metadata={"huggingface": json.dumps({"info": {"features": self.features}})},
        )
        self.pending: list[dict[str, Any]] = []
        self.values = 0  # that are pending
        self.shards: list[Path] = []
        self.file = self.stream = None
        self.rows = 0
        self.sha256 = ""
        """Hash of the split's Arrow files; known when the block has ended."""

    def __enter__(self) -> "SplitWriter":
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            self.flush()
            if not self.shards:
                self.open_shard()
        self.close_shard()
        if failed is None:
            self.describe()

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, given as {column: value}."""
        self.pending.append(row)
        for value in row.values():
            self.values += len(value) if hasattr(value, "__len__") else 1
        if len(self.pending) == ROWS_AT_A_TIME or self.values >= VALUES_AT_A_TIME:
            self.flush()

    def add_batches(self, batches: Iterable[pyarrow.RecordBatch]) -> None:
        """Append rows that are in Arrow already."""
        self.flush()
        for batch in batches:
            self.write(batch)

    def flush(self) -> None:
        """Write the pending rows."""
        if self.pending:
            arrays = [arrow_array([row[field.name] for row in self.pending], field.type) for field in self.schema]
            self.write(pyarrow.record_batch(arrays, schema=self.schema))
            self.pending.clear()
            self.values = 0

    def write(self, batch: pyarrow.RecordBatch) -> None:
        """Write a record batch to the present shard, or to a new one when that is full."""
        if self.stream is None or self.file.tell() >= SHARD_BYTES:
            self.close_shard()
            self.open_shard()
        self.stream.write_batch(batch)
        self.rows += batch.num_rows

    def open_shard(self) -> None:
        """Begin a shard; it gets its name at the end, when their number is known."""
        path = self.folder / f"shard-{len(self.shards):05d}"
        self.shards.append(path)
        self.file = path.open("wb")
        self.stream = pyarrow.ipc.new_stream(self.file, self.schema)

    def close_shard(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.file.close()
            self.stream = self.file = None

    def describe(self) -> None:
        """Name the shards and write the two files that `datasets` expects beside them."""
        names = [f"data-{number:05d}-of-{len(self.shards):05d}.arrow" for number in range(len(self.shards))]
        for shard, name in zip(self.shards, names, strict=True):
            shard.rename(self.folder / name)
        self.sha256 = content_hash(self.folder / name for name in names)
        state = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": self.sha256[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self.folder.name,
        }
        write_json(self.folder / "state.json", state)
        info = {"citation": "", "description": "", "features": self.features, "homepage": "", "license": ""}
        write_json(self.folder / "dataset_info.json", info)


def arrow_array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """Return a column as Arrow has it; of token ids without making a Python object of each."""
    if not pyarrow.types.is_list(kind):
        return pyarrow.array(values, type=kind)
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(ids) for ids in values], out=offsets[1:])
    flat = np.concatenate([np.asarray(ids, dtype=np.int32) for ids in values])
    return pyarrow.ListArray.from_arrays(offsets, flat, type=kind)
