"""What every program that makes a raw dataset shares: its command line, and the note on what came."""

import argparse
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from heirloom.config.sections.source import DatasetSource
from heirloom.data.raw.data_folders import SOURCE_FILE, is_data, split_named_by
from heirloom.errors import HeirloomError
from heirloom.json_files import write_json
from heirloom.stage_arguments import output_path, stage_parser

ACTING = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff'\"`$\\\\]")


def raw_dataset_arguments(description: str) -> argparse.Namespace:
    """Read the command line: --config, --sections and --output."""
    parser = stage_parser(description, config="a file of config/datasets/", sections=("source",))
    parser.add_argument("--output", type=output_path, required=True, help="folder to write")
    return parser.parse_args()


def write_note(folder: Path, source: DatasetSource, splits: dict[str, str | None], commit: str | None = None) -> None:
    """Write source.json: the source as configured, a hub repository's commit, each file's split, size and SHA-256.

    `splits` maps each file to its split. No time and no place is noted, so the same files give the same bytes.
    """
    files = [describe_file(folder, name, split) for name, split in sorted(splits.items())]
    found = {"commit": commit} if commit else {}
    write_json(folder / SOURCE_FILE, {"source": source.model_dump(exclude_defaults=True), **found, "files": files})
    print(f"{len(files)} files, {sum(file['bytes'] for file in files):,} bytes")


def describe_file(folder: Path, name: str, split: str | None) -> dict:
    """Return what source.json says of one file."""
    with (folder / name).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": name, "split": split, "bytes": (folder / name).stat().st_size, "sha256": sha256}


def check_names(names: Iterable[str], place: str) -> None:
    """Raise HeirloomError for a foreign file whose name would act where it is shown or typed: rows are cited by it."""
    for name in names:
        if ACTING.search(name):
            raise HeirloomError(
                f"source: {place} holds {ascii(name)}, whose name has characters that act in a shell or a terminal: "
                "rename it there, or choose other files with source.files"
            )


def splits_by_name(names: Iterable[str]) -> dict[str, str | None]:
    """Return file → the split that its name tells."""
    return {name: split_named_by(name) for name in names}


def data_files(folder: Path) -> list[str]:
    """Return the files below a folder that may hold rows, as sorted relative names."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_data(path.name))
