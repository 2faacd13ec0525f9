"""Test rows with a prompt that was trained on: in a dataset and in a mixture.

Beside its rows a processed dataset keeps the keys of their prompts, `train-prompts.npy` and `test-prompts.npy`:
(keys, 2) uint64, the number of a row and the key of one of its prompts (heirloom.data.rows.prompt_keys).
"""

import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heirloom.errors import plain


class PromptKeys:
    """The keys of a split's prompts, row by row."""

    def __init__(self) -> None:
        self.rows = 0
        self.numbers, self.keys = array("Q"), array("Q")

    def add(self, keys: Sequence[int]) -> None:
        """Add the next row, by the keys of its prompts, the last answer's last."""
        self.numbers.extend([self.rows] * len(keys))
        self.keys.extend(keys)
        self.rows += 1

    def as_array(self) -> np.ndarray:
        """Return (keys, 2): row and key."""
        return np.stack([np.frombuffer(part, dtype=np.uint64) for part in (self.numbers, self.keys)], axis=1)

    def write(self, folder: Path, split: str) -> None:
        """Write the keys beside the rows of a split."""
        write_keys(self.as_array(), folder, split)


def file_of(folder: Path, split: str) -> Path:
    """Return where a processed dataset keeps the keys of a split's prompts."""
    return folder / f"{split}-prompts.npy"


def write_keys(keys: np.ndarray, folder: Path, split: str) -> None:
    """Write (keys, 2) beside the rows of a split."""
    np.save(file_of(folder, split), keys)


def read_keys(folder: Path, split: str) -> np.ndarray | None:
    """Return (keys, 2) of a split; None when the dataset has none, as one of an earlier version."""
    file = file_of(folder, split)
    return np.load(file) if file.is_file() else None


def asked(keys: np.ndarray) -> np.ndarray:
    """Return of (keys, 2) those of the last prompt of each row, which is the one that a test asks."""
    rows = keys[:, 0]
    return keys[np.append(rows[1:] != rows[:-1], True)] if len(rows) else keys


def seen_rows(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return the numbers of the test rows whose prompt is one that is trained on; both (keys, 2)."""
    last = asked(test)
    return last[np.isin(last[:, 1], train[:, 1]), 0]


def tell_seen(whose: str, count: int, rows: int, trained: str) -> None:
    """Warn on stderr when test rows have prompts that are trained on."""
    if count:
        print(
            f"warning: {count} of {rows} rows of {whose} have a prompt that {plain(trained)} trains on as well, so "
            "scores on them tell what was learned by heart: take them out, or draw the test split by test_rows or "
            "test_fraction",
            file=sys.stderr,
        )
