"""The rows of the harness's own tasks, from raw datasets that download_dataset.py brought.

The task files stay as they are. They name a hub dataset and a configuration, and `datasets.load_dataset`, by which the
harness asks for it, answers with the files of the stage's inputs. Nothing else is answered, and no code is run.
"""

import atexit
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heirloom.config.arguments.harness_tasks import DEFAULT
from heirloom.data.raw.data_folders import read_note, recorded_configurations
from heirloom.data.raw.raw_files import suffix_of
from heirloom.errors import HeirloomError

BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv"}
"""Suffix of a file → what of `datasets` reads it."""

Place = tuple[Path, dict[str, list[Path]]]


def read_rows_from(data: Sequence[Path]) -> None:
    """Let `datasets.load_dataset` of this process give the rows in these folders alone. Raises HeirloomError.

    The tables that it makes of them lie in a folder that goes with the process.
    """
    import datasets

    places = places_of(data)
    made = tempfile.TemporaryDirectory(prefix="harness-rows-")
    atexit.register(made.cleanup)
    load = datasets.load_dataset

    def load_dataset(path: str, name: str | None = None, **_: Any) -> datasets.DatasetDict:
        config = name or DEFAULT
        if (path, config) not in places:
            known = ", ".join(f"{hub} ({each})" for hub, each in sorted(places)) or "none"
            raise HeirloomError(
                f"lm_eval.datasets: a task reads {path} ({config}), and here are {known}: name a dataset that brings it"
            )
        folder, files = places[path, config]
        return load(builder_of(folder, files), data_files=as_text(files), cache_dir=made.name)

    datasets.load_dataset = load_dataset


def places_of(data: Sequence[Path]) -> dict[tuple[str, str], Place]:
    """Return (hub dataset, configuration) → folder and its files by split. Raises HeirloomError."""
    return {
        (read_note(folder)["source"]["hub"], config or DEFAULT): (folder, files)
        for folder in data
        for config, files in recorded_configurations(folder).items()
    }


def builder_of(folder: Path, files: dict[str, list[Path]]) -> str:
    """Return what of `datasets` reads files. Raises HeirloomError when they are of several kinds, or of another one."""
    suffixes = sorted({suffix_of(path) for paths in files.values() for path in paths})
    builders = {BUILDERS.get(suffix, "") for suffix in suffixes}
    if len(builders) != 1 or "" in builders:
        raise HeirloomError(
            f"{folder}: holds {' and '.join(suffixes)} files, and rows of a task are read from files of one kind, "
            f"{', '.join(BUILDERS)}: choose them by source.files"
        )
    return builders.pop()


def as_text(files: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {split: [str(path.resolve()) for path in paths] for split, paths in files.items()}
