"""What the reference gives the rows of a training: log-probabilities that a stage of its own has computed.

A folder of them has for each split a file of arrays by TRL's names of the columns, one number a row in the order of the
rows, and says which rows and which weights they are of: rows that were made anew are refused, not paired by position.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from heirloom.data.rows_digest import rows_digest
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json, write_json
from heirloom.training.inputs.training_data import TrainingData

COLUMNS = {"dpo": ("ref_chosen_logps", "ref_rejected_logps"), "kto": ("ref_logps", "ref_KL_logps")}
"""Trainer → TRL's names of what the reference gives a row: sums of log-probabilities of an answer's tokens, in nats."""
DESCRIPTION = "heirloom.json"


def splits_of(data: TrainingData) -> dict[str, Dataset]:
    """Return the splits that have rows, by name."""
    return {name: rows for name in ("train", "test") if (rows := getattr(data, name)) is not None}


def write_reference_scores(folder: Path, scored: dict[str, Dataset], facts: dict[str, Any]) -> None:
    """Write the columns that a trainer has added to each split; `facts`: what the description says besides."""
    counts = {}
    for split, rows in scored.items():
        names = [name for names in COLUMNS.values() for name in names if name in rows.column_names]
        table = rows.select_columns(names).with_format("numpy")[:]
        arrays = {name: np.ascontiguousarray(table[name], np.float32) for name in names}
        save_file(arrays, file_of(folder, split))
        counts[split] = {"rows": len(rows), "digest": rows_digest(rows.remove_columns(names))}
    write_json(folder / DESCRIPTION, {**facts, "splits": counts})


def with_reference_scores(data: TrainingData, folder: Path, trainer: str) -> TrainingData:
    """Return the rows with what the reference gives them. Raises HeirloomError when the scores are of other rows."""
    described = read_json(folder / DESCRIPTION)
    if not isinstance(described, dict) or not isinstance(described.get("splits"), dict):
        raise HeirloomError(f"{folder / DESCRIPTION}: does not describe reference scores: make them again")
    if described.get("trainer") != trainer:
        raise HeirloomError(
            f"{folder}: has the scores that trainer: {described.get('trainer')} reads, and this is trainer: {trainer}: "
            f"{REMEDY}"
        )
    splits = splits_of(data)
    for split, rows in splits.items():
        if described["splits"].get(split) != {"rows": len(rows), "digest": rows_digest(rows)}:
            raise HeirloomError(f"{folder}: has scores of other {split} rows than those that are trained on: {REMEDY}")
    return replace(data, **{split: scored_rows(rows, file_of(folder, split)) for split, rows in splits.items()})


def file_of(folder: Path, split: str) -> Path:
    """Return the file of a split's scores."""
    return folder / f"{split}.safetensors"


def scored_rows(rows: Dataset, file: Path) -> Dataset:
    """Return rows with the columns of a file beside them."""
    try:
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        raise HeirloomError(f"{file}: cannot be read ({error}): make the reference scores again") from error
    wrong = [name for name, array in arrays.items() if array.shape != (len(rows),)]
    if wrong or not arrays:
        raise HeirloomError(f"{file}: has not one number a row: make the reference scores again")
    return concatenate_datasets([rows, Dataset.from_dict(arrays)], axis=1)


REMEDY = "score them by scripts/score_reference.py, or leave out --reference_scores"
