"""Which files of a raw dataset hold its rows, and which split each belongs to.

Only what is known to be data is read: what source.json lists, what the state.json of a folder that `datasets` saved
lists, or else all files of one known format. Anything else is refused or named.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

from heirloom.data.raw.raw_files import READERS, RawFile, reader_of, suffix_of
from heirloom.errors import HeirloomError, plain

SOURCE_FILE = "source.json"  # what download_dataset.py notes about where the files came from
BY_CONFIGURATION = "by-configuration"  # folder of a folder for each configuration, where several were asked for
STATE_FILE = "state.json"  # what `datasets` notes about a split that it saved
DESCRIPTIONS = (SOURCE_FILE, STATE_FILE, "dataset_info.json", "dataset_infos.json", "dataset_dict.json")
ABOUT_DATA = re.compile(r"(licen[cs]e|copying|notice|readme|changelog|citation|authors|requirements)\b.*\.txt", re.I)
SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"}
SPLIT_WORDS |= {"evaluation": "test", "validation": "validation", "valid": "validation", "val": "validation"}
SPLIT_WORDS |= {"dev": "validation"}
SAME_FORMAT = {".ndjson": ".jsonl"}
NAMED_FILES = 5  # so many are named in a message


def find_raw_files(raw: Path) -> list[RawFile]:
    """Return the data files of a raw dataset: a file, or a folder and its subfolders, in the order of their names.

    A folder's source.json says which split a file belongs to; without it the file's own path does
    (`train.jsonl`, `data/test-00000-of-00002.parquet`), and a file that names no split is training data.
    Files that are not read are named on stderr. Raises HeirloomError when there is no data file, or when files of
    several formats lie in the folder, of which some may be no data and others the same rows again.
    """
    if not raw.exists():
        raise HeirloomError(f"{raw}: there is no such raw dataset; give a file or a folder of files")
    if raw.is_file():
        reader_of(raw)
        return [RawFile(raw, raw.name, "train")]
    recorded = recorded_splits(raw)
    found = sorted(path for path in raw.rglob("*") if path.is_file() and not is_hidden(path.relative_to(raw)))
    saved = {file for state in found if state.name == STATE_FILE for file in saved_files(state)}
    saved_folders = {path.parent for path in found if path.name == STATE_FILE}
    files, skipped = [], []
    for path in found:
        name = path.relative_to(raw).as_posix()
        if is_description(path):
            continue
        if path.parent in saved_folders and path not in saved:
            skipped.append(name)
        elif suffix_of(path) in READERS:
            files.append(RawFile(path, name, recorded.get(name) or split_named_by(name)))
        else:
            skipped.append(name)
    listed_by_nobody = [file.name for file in files if file.name not in recorded]
    check_formats(f"{raw}", listed_by_nobody, "keep the rows in one format in a folder of their own")
    if not files:
        raise HeirloomError(f"{raw}: holds no data file; known are {', '.join(READERS)}")
    tell_skipped(raw, skipped)
    return files


def saved_files(state: Path) -> Iterator[Path]:
    """Yield the data files that the state.json of a saved split lists; raises HeirloomError when one is not there."""
    noted = read_json_object(state)
    if noted.get("_indices_data_files"):
        raise HeirloomError(
            f"{state}: the split was saved as a choice of rows by an old version of `datasets`, which only that "
            "version reads: load it there and save it with flatten_indices()"
        )
    for file in noted.get("_data_files") or []:
        path = state.parent / file["filename"]
        if not path.is_file():
            raise HeirloomError(f"{state}: lists {file['filename']}, which is not there; save the dataset again")
        yield path


def check_formats(place: str, names: Iterable[str], remedy: str) -> None:
    """Raise HeirloomError when data files at a place are of several formats."""
    first: dict[str, str] = {}
    for name in names:
        suffix = suffix_of(Path(name))
        first.setdefault(SAME_FORMAT.get(suffix, suffix), name)
    if len(first) > 1:
        raise HeirloomError(
            f"{place}: holds {' and '.join(sorted(first))} files ({', '.join(first.values())}), perhaps the same rows "
            f"twice, or files that are no data: {remedy}"
        )


def tell_skipped(raw: Path, names: list[str]) -> None:
    """Name on stderr the files of a raw dataset that are not read."""
    names = [name for name in names if Path(name).suffix.lower() not in (".md", ".py")]
    if names:
        more = f" and {len(names) - NAMED_FILES} more" if len(names) > NAMED_FILES else ""
        print(
            f"warning: {raw}: not read, since no known data file: {plain(', '.join(names[:NAMED_FILES]))}{more}; "
            f"known are {', '.join(READERS)}, the text formats also with .gz",
            file=sys.stderr,
        )


def is_hidden(path: Path) -> bool:
    """Tell whether a file or one of its folders is hidden."""
    return any(part.startswith(".") for part in path.parts)


def is_description(path: Path) -> bool:
    """Tell whether a file describes a dataset rather than holding rows of it."""
    return path.name in DESCRIPTIONS or ABOUT_DATA.fullmatch(path.name) is not None or is_cache(path.name)


def is_cache(name: str) -> bool:
    """Tell whether a file is what `datasets` writes beside saved data when it changes the rows."""
    return name.startswith("cache-") and name.endswith(".arrow")


def is_data(name: str) -> bool:
    """Tell whether a file may hold rows, by its name."""
    return suffix_of(Path(name)) in READERS and not is_description(Path(name))


def recorded_splits(raw: Path) -> dict[str, str | None]:
    """Return {file name: split} as source.json has it; empty without one."""
    return {file["path"]: file.get("split") for file in read_note(raw).get("files") or []}


def recorded_configurations(raw: Path) -> dict[str | None, dict[str, list[Path]]]:
    """Return configuration → split → files of what download_dataset.py brought from a hub, by source.json.

    None stands for what is meant where none is named. Raises HeirloomError when it is not there.
    """
    note = read_note(raw)
    if not note.get("source", {}).get("hub"):
        raise HeirloomError(f"{raw}: holds no dataset from a hub (no {SOURCE_FILE} that names one): download it again")
    found: dict[str | None, dict[str, list[Path]]] = {}
    for name, split in recorded_splits(raw).items():
        parts = PurePath(name).parts
        configuration = parts[1] if parts[0] == BY_CONFIGURATION else note["source"].get("config")
        found.setdefault(configuration, {}).setdefault(split or split_named_by(name), []).append(raw / name)
    return found


def recorded_hub(raw: Path) -> list[str]:
    """Return the hub repository that source.json names, as a list of none or one.

    Without its commit: one that leaves the rows as they are must leave what is made of them as it is, too.
    """
    hub = read_note(raw).get("source", {}).get("hub")
    return [hub] if hub else []


def read_note(raw: Path) -> dict[str, Any]:
    """Return the source.json of a raw dataset; empty without one. Raises HeirloomError when it is something else."""
    file = raw / SOURCE_FILE
    if not file.is_file():
        return {}
    note = read_json_object(file)
    files = note.get("files", [])
    well_formed = isinstance(files, list) and all(isinstance(one, dict) and "path" in one for one in files)
    if not well_formed or not isinstance(note.get("source", {}), dict):
        raise HeirloomError(
            f"{file}: is no note of download_dataset.py, which has `source` and `files`; if it holds rows, give it "
            "another name"
        )
    return note


def read_json_object(file: Path) -> dict[str, Any]:
    """Return what a file beside the data says; raises HeirloomError when it is no JSON object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise HeirloomError(f"{file}: is not JSON ({error}); if it holds rows, give it another name") from None
    if not isinstance(value, dict):
        raise HeirloomError(
            f"{file}: must be an object that describes the dataset, found {type(value).__name__}; if it holds rows, "
            "give it another name"
        )
    return value


def split_named_by(name: str) -> str:
    """Return the split that a file's path names, its own name first, then its folders; `train` when none does."""
    for part in reversed(Path(name).parts):
        for word in re.split(r"[^a-zA-Z]+", part.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return "train"
