"""Bring a raw dataset here, from wherever its config says, and note exactly what came."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heirloom.config.source import DatasetSource
from heirloom.errors import HeirloomError
from heirloom.hub import sha256_of
from heirloom.raw_files import READERS, SOURCE_FILE, is_description, split_named_by, suffix_of


def fetch_raw(source: DatasetSource, folder: Path) -> dict[str, Any]:
    """Fill the new folder `folder` with the files of a raw dataset and return what source.json says about them.

    source.json holds the source as configured, the commit of a hub repository, and each file's split, size and
    SHA-256; no time and no place, so that the same files give the same bytes. Raises HeirloomError.
    """
    note: dict[str, Any] = {"source": source.model_dump(exclude_defaults=True)}
    if source.hub is not None:
        from heirloom.hub_datasets import download_hub_dataset

        with download_folder() as downloads:
            note["commit"], splits = download_hub_dataset(source, downloads)
            for name in splits:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(downloads / name, folder / name)
    elif source.s3 is not None:
        from heirloom.hub_datasets import matches
        from heirloom.s3 import download_prefix

        names = download_prefix(source.s3, folder, lambda name: is_data(name) and matches(name, source.files))
        splits = {name: split_named_by(name) for name in names}
    elif source.generator is not None:
        splits = generate(source, folder)
    else:
        raise HeirloomError(f"source.path: {source.path} is here already: give it to create_dataset.py as --raw")
    note["files"] = [
        {
            "path": name,
            "split": split,
            "bytes": (folder / name).stat().st_size,
            "sha256": sha256_of(folder / name),
        }
        for name, split in sorted(splits.items())
    ]
    return note


@contextmanager
def download_folder() -> Iterator[Path]:
    """Give a folder for downloads that an interrupted stage finds again; by hand, one that goes away."""
    work = os.environ.get("HEIRLOOM_WORK_DIR")
    if work:
        folder = Path(work) / "download"
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def generate(source: DatasetSource, folder: Path) -> dict[str, str]:
    """Let a built-in generator write the files; return {file: split}."""
    if source.generator != "demo":
        raise HeirloomError(f"source.generator: there is no generator {source.generator}; known is demo")
    for key in ("part", "rows"):
        if getattr(source, key) is None:
            raise HeirloomError(f"source.{key} is missing: the demo generator needs part and rows")
    from heirloom.demo.generator import write_raw

    test_rows = {} if source.test_rows is None else {"test_rows": source.test_rows}
    write_raw(source.part, source.rows, source.seed, folder, **test_rows)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_data(path.name))
    return {name: split_named_by(name) for name in names}


def is_data(name: str) -> bool:
    """Tell whether a file may hold rows, by its name."""
    path = Path(name)
    return suffix_of(path) in READERS and not is_description(path) and path.name != SOURCE_FILE
