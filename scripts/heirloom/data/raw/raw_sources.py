"""Bring the files of a raw dataset here, from the Hugging Face Hub or from S3."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.config.sections.source import DatasetSource
from heirloom.data.raw.data_folders import check_formats, is_data, split_named_by
from heirloom.data.raw.hub_datasets import download_hub_dataset, matches
from heirloom.data.raw.raw_dataset import check_names, splits_by_name
from heirloom.data.raw.raw_files import suffix_of
from heirloom.errors import HeirloomError
from heirloom.s3 import SCHEME, download_prefix

PROCESSED = re.compile(r"dataset\.json|(train|test)/data-\d{5}-of-\d{5}\.arrow|(train|test)-prompts\.npy")
"""The files of a processed dataset that are read, by their relative names; the rest follows from them."""


def fetch_raw(
    source: DatasetSource, folder: Path, first_files: bool = False
) -> tuple[dict[str, str | None], str | None]:
    """Fill `folder` with the files of a raw dataset; return file → split, and the commit of a hub repository.

    `first_files`: of each split the first file alone, to look at some rows.

    Raises HeirloomError when the place cannot be read, and for a source that is not fetched.
    """
    if source.hub is not None:
        with download_folder() as downloads:
            commit, splits = download_hub_dataset(source, downloads, first_files)
            for name in splits:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(downloads / name, folder / name)
        return splits, commit
    if source.s3 is not None:
        begun: set[str] = set()

        def wanted(name: str) -> bool:
            if not (is_data(name) and matches(name, source.files)):
                return False
            check_names([name], source.s3)
            if first_files and split_named_by(name) in begun:
                return False
            begun.add(split_named_by(name))
            return True

        names = download_prefix(source.s3, folder, wanted)
        if not source.files:
            check_formats(source.s3, names, f"choose with source.files, for instance ['*{suffix_of(Path(names[0]))}']")
        return splits_by_name(names), None
    if source.processed is not None and source.processed.startswith(SCHEME):
        names = download_prefix(source.processed, folder, lambda name: PROCESSED.fullmatch(name) is not None)
        if "dataset.json" not in names:
            raise HeirloomError(
                f"source.processed: {source.processed} holds no dataset.json, which create_dataset.py uploads last: "
                "give the prefix that it was given, or let it finish"
            )
        return dict.fromkeys(names), None
    if source.generator is not None:
        raise HeirloomError("source.generator: generate_dataset.py makes this dataset")
    raise HeirloomError(f"source: {source.local} is here already: give it to create_dataset.py as --raw")


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
