"""Rows that a stage of its own has packed or joined, in a folder: a file a split, and what they were made from.

Made by the functions of packing.py, so that a training learns the same from them as when it packs its rows itself.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from heirloom.config.before_training.packing import JOINED
from heirloom.data.rows_digest import rows_digest
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json, write_json
from heirloom.training.batches.packing import check_not_padded, join, pack, total_tokens
from heirloom.training.inputs.training_data import TrainingData, longest_row

DESCRIPTION = "heirloom.json"
ENDS = 100
"""Rows at the beginning and at the end whose tokens are compared; of all others only how many they are."""


def write_packed_rows(data: TrainingData, strategy: str, seq_length: int, folder: Path) -> dict[str, dict[str, int]]:
    """Write the packed training rows, or both splits joined, into a folder; return what was made, by split.

    Raises HeirloomError for rows that are padded, too long for the strategy, or too few.
    """
    described: dict[str, Any] = {"strategy": strategy, "seq_length": seq_length, "made_from": {}}
    counts = {}
    for split in splits_of(strategy):
        rows = getattr(data, split)
        if rows is None:
            continue
        file = folder / f"{split}.arrow"
        check_not_padded(rows, "seq_length" if strategy == JOINED else "packing")
        if strategy == JOINED:
            join(rows, seq_length, split == "test", file)
        else:
            pack(rows, seq_length, strategy, file)
        made = Dataset.from_file(str(file))
        described["made_from"][split] = known_by(rows)
        tokens = {"tokens": total_tokens(made), "longest_row": longest_row(made.select_columns(["input_ids"]))}
        counts[split] = {"rows_in": len(rows), "rows_out": len(made), **tokens}
    write_json(folder / DESCRIPTION, described)
    return counts


def read_packed_rows(data: TrainingData, strategy: str, seq_length: int, folder: Path) -> TrainingData:
    """Return the rows with those of a folder in their place, memory-mapped.

    Raises HeirloomError when they were made from other rows, or in another way than the training asks for.
    """
    described = read_json(folder / DESCRIPTION)
    made_from = described.get("made_from")
    if not isinstance(made_from, dict) or "train" not in made_from:
        raise HeirloomError(f"{folder / DESCRIPTION}: does not describe packed rows: make them again")
    way = (described.get("strategy"), described.get("seq_length"))
    if way != (strategy, seq_length):
        raise HeirloomError(
            f"{folder}: its rows are {way[0]}, of {way[1]} tokens, and the training asks for {strategy}, of "
            f"{seq_length}: {REMEDY}"
        )
    taken = {}
    for split in splits_of(strategy):
        rows = getattr(data, split)
        if rows is not None:
            if made_from.get(split) != known_by(rows):
                raise HeirloomError(f"{folder}: was made from other {split} rows than the dataset's: {REMEDY}")
            taken[split] = packed_file(folder / f"{split}.arrow")
    return replace(data, **taken)


def splits_of(strategy: str) -> tuple[str, ...]:
    """Return the splits whose rows are put together: held-out rows are joined, and never packed."""
    return ("train", "test") if strategy == JOINED else ("train",)


def packed_file(file: Path) -> Dataset:
    """Return the rows of a file, memory-mapped. Raises HeirloomError when it cannot be read."""
    try:
        return Dataset.from_file(str(file))
    except (OSError, ValueError) as error:
        raise HeirloomError(f"{file}: cannot be read ({error}): make the packed rows again") from error


def known_by(rows: Dataset) -> dict[str, Any]:
    """Return what rows are known again by, without reading all of them: a pre-training's are many gigabytes."""
    ends = sorted({*range(min(ENDS, len(rows))), *range(max(len(rows) - ENDS, 0), len(rows))})
    return {"rows": len(rows), "tokens": total_tokens(rows), "ends": rows_digest(rows.select(ends))}


REMEDY = "pack them by scripts/pack_dataset.py, or leave out --packed_rows"
