"""Mix processed datasets by weight: the same rows in the same order for the same section, on every machine."""

import math
import random
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Value, concatenate_datasets

from heirloom.artifacts import new_artifact
from heirloom.config.sections.mixture import MixtureSection
from heirloom.config.sections.row_kinds import IGNORED
from heirloom.data.data_statistics import SplitStatistics
from heirloom.data.dataset_storage import ROWS_AT_A_TIME, SplitWriter
from heirloom.data.processed_dataset import load_rows
from heirloom.data.rows.labelled_rows import counted_answer
from heirloom.data.rows.preference_rows import counted_pair
from heirloom.data.rows.rows import FinishedRow
from heirloom.data.rows.seq2seq_rows import counted_source_and_target
from heirloom.data.seen_prompts import asked, read_keys, seen_rows, tell_seen, write_keys
from heirloom.errors import HeirloomError
from heirloom.json_files import read_json, write_json

# Facts of dataset.json that the parts of a mixture must share.
SHARED_FACTS = ("kind", "max_length", "packed", "padded", "tokenizer")
# Facts that are kept for each part.
MOST_REPETITIONS = 10  # of a part's rows, without a warning
OWN_FACTS = ("train_on", "processing_function", "chat_template", "max_prompt_length", "max_target_length")


def mix_datasets(
    folders: Mapping[str, Path], section: MixtureSection, output: Path, statistics: Path | None = None
) -> dict[str, Any]:
    """Mix the processed datasets {name: folder} into the folder `output` and return the statistics.

    Each part gives its share of the training rows, drawn and shuffled by the section's seed; the test splits are
    joined whole, one after another. Raises HeirloomError when the parts do not go together.
    """
    facts = {name: read_facts(folders, name) for name in section.datasets}
    check_facts(facts)
    with new_artifact(output) as partial:
        partial.mkdir()
        metrics, splits, keys = {}, {}, {}
        for split in ("train", "test"):
            parts = {name: load_rows(folders[name] / split) for name in facts if split in facts[name]["splits"]}
            if not parts:
                continue
            sizes = {name: len(part) for name, part in parts.items()}
            if split == "train":
                tell_repetitions(sizes, section)
            order = mixed_order(sizes, section) if split == "train" else np.arange(sum(sizes.values()))
            kind = next(iter(facts.values()))["kind"]
            metrics[split], sha256 = write_split(partial / split, parts, order, kind)
            of_first = facts[next(iter(parts))]["splits"][split]
            splits[split] = {**of_first, "rows": metrics[split]["rows_out"], "sha256": sha256}
            keys[split] = mixed_keys({name: folders[name] for name in parts}, sizes, split, order)
            if keys[split] is not None:
                write_keys(keys[split], partial, split)
        compare_prompts(keys, metrics, output.name)
        hub = list(dict.fromkeys(name for fact in facts.values() for name in fact["hub"]))
        own = {fact: {name: facts[name][fact] for name in facts} for fact in OWN_FACTS}
        first = next(iter(facts.values()))
        write_json(partial / "dataset.json", {**first, **own, "hub": hub, "splits": splits})
    if statistics is not None:
        with new_artifact(statistics) as partial:
            write_json(partial, metrics)
    return metrics


def read_facts(folders: Mapping[str, Path], name: str) -> dict[str, Any]:
    """Return dataset.json of a part; raises HeirloomError when the part is not given or is no processed dataset."""
    if name not in folders:
        raise HeirloomError(f"mixture.datasets: no folder is given for {name}; add {name}=FOLDER to --datasets")
    file = folders[name] / "dataset.json"
    if not file.is_file():
        raise HeirloomError(f"mixture.datasets: {folders[name]} is no processed dataset (it has no dataset.json)")
    return read_json(file)


def check_facts(facts: Mapping[str, dict[str, Any]]) -> None:
    """Raise HeirloomError when the parts differ in what they must share."""
    first, *others = facts
    for fact in SHARED_FACTS:
        for other in others:
            if facts[first][fact] != facts[other][fact]:
                raise HeirloomError(
                    f"mixture.datasets: {first} and {other} differ in {fact}: {facts[first][fact]} and "
                    f"{facts[other][fact]}; process them alike"
                )
    for split in ("train", "test"):
        columns = {
            name: tuple(fact["splits"][split]["columns"]) for name, fact in facts.items() if split in fact["splits"]
        }
        if len(set(columns.values())) > 1:
            told = "; ".join(f"{name}: {', '.join(names)}" for name, names in columns.items())
            raise HeirloomError(
                f"mixture.datasets: the {split} splits have different columns ({told}); process them alike"
            )


def rows_of_each(sizes: Mapping[str, int], section: MixtureSection) -> dict[str, int]:
    """Return how many rows each part gives, for parts of `sizes` rows.

    first_exhausted: the largest mixture in which no row is repeated. all_exhausted: the smallest one in which every
    row occurs.
    """
    total = sum(section.datasets.values())
    shares = {name: weight / total for name, weight in section.datasets.items()}
    rows = [sizes[name] / share for name, share in shares.items()]
    size = min(rows) if section.stopping_strategy == "first_exhausted" else max(rows)
    # rounding errors of the shares must not cost a row of the part that decides
    return {name: max(1, math.floor(size * share + 1e-6)) for name, share in shares.items()}


def mixed_order(sizes: Mapping[str, int], section: MixtureSection) -> np.ndarray:
    """Return the training rows of a mixture, as indices into its parts joined one after another.

    Each part is drawn in a random order without repetition, again and again where more rows are wanted than it has.
    """
    drawn, first = [], 0
    for name, count in rows_of_each(sizes, section).items():
        rounds = [
            shuffled(sizes[name], f"{section.seed}/{name}/{repetition}")
            for repetition in range(-(-count // sizes[name]))
        ]
        drawn.append(first + np.concatenate(rounds)[:count])
        first += sizes[name]
    rows = np.concatenate(drawn)
    return rows[shuffled(len(rows), f"{section.seed}")]


def tell_repetitions(sizes: Mapping[str, int], section: MixtureSection) -> None:
    """Warn on stderr when rows of a part are repeated very often, since another one has a tiny weight."""
    for name, count in rows_of_each(sizes, section).items():
        if count > MOST_REPETITIONS * sizes[name]:
            print(
                f"warning: mixture.datasets.{name}: its {sizes[name]:,} rows are repeated {count / sizes[name]:,.0f} "
                "times so that every row of the others occurs: give it a smaller weight, or stopping_strategy: "
                "first_exhausted",
                file=sys.stderr,
            )


def mixed_keys(folders: Mapping[str, Path], sizes: Mapping[str, int], split: str, order: np.ndarray) -> Any:
    """Return (keys, 2) of the prompts of a mixture's split, whose rows are `order` of the joined parts.

    None when a part has no keys. Rows that were packed are no rows of their own any more: all of their keys are taken.
    """
    parts, first, packed = [], 0, False
    for name, folder in folders.items():
        keys = read_keys(folder, split)
        if keys is None:
            return None
        packed |= len(asked(keys)) != sizes[name]
        parts.append(keys + np.array([first, 0], dtype=np.uint64))
        first += sizes[name]
    keys = np.concatenate(parts)
    if packed:
        return keys
    starts = np.searchsorted(keys[:, 0], np.arange(first + 1))  # where the keys of each row begin
    counts = np.diff(starts)[order]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = keys[np.repeat(starts[:-1][order], counts) + within]
    chosen[:, 0] = np.repeat(np.arange(len(order)), counts)
    return chosen


def compare_prompts(keys: Mapping[str, Any], metrics: dict[str, dict[str, Any]], name: str) -> None:
    """Tell on stderr, and in the statistics, how many test rows have a prompt that is trained on as well."""
    if keys.get("train") is not None and keys.get("test") is not None:
        seen = len(seen_rows(keys["test"], keys["train"]))
        if seen:
            metrics["test"]["rows_with_a_trained_prompt"] = seen
        tell_seen(f"the test split of {name}", seen, len(asked(keys["test"])), "its train split")


def shuffled(count: int, seed: str) -> np.ndarray:
    """Return the numbers below `count` in an order that the seed decides, with whichever version of numpy."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return np.array(order, dtype=np.int64)


def write_split(folder: Path, parts: Mapping[str, Dataset], order: np.ndarray, kind: str) -> tuple[dict[str, Any], str]:
    """Write the rows `order` of the joined parts, all of one kind; return their statistics and content's hash."""
    joined = concatenate_datasets(list(parts.values())).with_format("numpy")
    ends = np.cumsum([len(part) for part in parts.values()])
    names = list(parts)
    statistics = SplitStatistics()
    given: Counter[str] = Counter()
    columns = {name: "text" if feature == Value("string") else "ids" for name, feature in joined.features.items()}
    with SplitWriter(folder, columns) as writer:
        for start in range(0, len(order), ROWS_AT_A_TIME):
            indices = order[start : start + ROWS_AT_A_TIME]
            batch = joined[indices]
            for at, index in enumerate(indices):
                row = {column: batch[column][at] for column in columns}
                name = names[int(ends.searchsorted(index, side="right"))]
                if "row_id" in row:
                    row["row_id"] = f"{name}/{row['row_id']}"
                writer.add(row)
                given[name] += 1
                statistics.rows_in += 1
                statistics.keep(counted(row, kind))
    return {**statistics.as_metrics(), "rows_from": {name: given[name] for name in names}}, writer.sha256


def counted(row: dict[str, Any], kind: str) -> FinishedRow:
    """Return a processed row with its number of tokens and of those trained on."""
    if kind == "preference":
        return counted_pair(row)
    if kind == "labelled":
        return counted_answer(row)
    if kind == "seq2seq":
        return counted_source_and_target(row)
    length = int(row["attention_mask"].sum()) if "attention_mask" in row else len(row["input_ids"])
    return FinishedRow(row, length, int((row["labels"] != IGNORED).sum()) if "labels" in row else length)
