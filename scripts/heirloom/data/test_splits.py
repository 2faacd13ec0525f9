"""Draw the test split: the same rows on every machine, and rows with equal prompts never on two sides.

A row is known by the keys of its prompts (heirloom.data.rows.prompt_keys): that of its last answer, which is asked in
a test, and those of its earlier answers, which a chat trains on too. Rows of which one trains on what another one is
asked belong together, as do rows with the same last prompt.
"""

from array import array
from collections.abc import Sequence

import numpy as np


class TestSplit:
    """Learns the prompts of all rows, then says which rows are in the test split."""

    __test__ = False  # no test of pytest

    def __init__(self, seed: int):
        self.seed = seed
        self.places = array("q")  # of each raw row: its number among those with a prompt, or -1
        self.asked = array("Q")  # key of the last prompt
        self.trained, self.trained_by = array("Q"), array("q")  # keys of earlier prompts, and whose they are

    def add(self, keys: Sequence[int] | None) -> None:
        """Add the next raw row with the keys of its prompts, the last answer's last; None for one that is not used."""
        self.places.append(len(self.asked) if keys else -1)
        if keys:
            self.trained.extend(keys[:-1])
            self.trained_by.extend([len(self.asked)] * (len(keys) - 1))
            self.asked.append(keys[-1])

    def draw(self, rows: int | None, share: float | None) -> np.ndarray:
        """Return for each raw row whether it is in the test split: `rows` of them or a `share` (a few more where
        prompts repeat). The groups with the smallest hashes of prompt and seed are taken."""
        places = np.frombuffer(self.places, dtype=np.int64)
        if not len(self.asked):
            return np.zeros(len(places), dtype=bool)
        numbers = mixed(self.groups(), self.seed)
        wanted = rows or max(1, round(len(numbers) * share))
        threshold = np.partition(numbers, min(wanted, len(numbers)) - 1)[min(wanted, len(numbers)) - 1]
        return (places >= 0) & (numbers <= threshold)[places]

    def groups(self) -> np.ndarray:
        """Return for each row with a prompt the smallest key of its group, (rows,) uint64."""
        keys, group = np.unique(np.frombuffer(self.asked, dtype=np.uint64), return_inverse=True)
        trained = np.frombuffer(self.trained, dtype=np.uint64)
        at = np.searchsorted(keys, trained)
        known = at < len(keys)
        known[known] = keys[at[known]] == trained[known]
        by = group[np.frombuffer(self.trained_by, dtype=np.int64)]
        links = np.unique(np.stack([by[known], at[known]], axis=1), axis=0)
        parent = list(range(len(keys))) if len(links) else []

        def root(of: int) -> int:
            while parent[of] != of:
                parent[of] = of = parent[parent[of]]
            return of

        for one, other in links.tolist():
            low, high = sorted((root(one), root(other)))
            parent[high] = low  # keys ascend, so a root is its group's smallest
        return keys[np.array([root(of) for of in parent]) if parent else slice(None)][group]


def mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """Return other 64-bit numbers for keys (uint64), which a seed decides: one round of splitmix64.

    Hashes rather than random numbers, so that no library's generator decides, and equal keys get equal numbers.
    """
    numbers = keys + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
