"""Read raw data files row by row, whatever their format, in constant memory.

.jsonl .ndjson      one JSON object a line
.json               one array of objects (read as a stream), or objects one after another
.csv .tsv           a header line, then rows; every value is text
.parquet            row groups
.arrow              shards of a folder that `datasets` saved
.txt                one text a line, as column `text`
The text formats may be compressed with gzip (.gz).

A row that cannot be read is given as an UnreadableRow in its place, so that none is lost silently.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heirloom.errors import HeirloomError

SOURCE_FILE = "source.json"  # what download_dataset.py notes about where the files came from
SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"}
SPLIT_WORDS |= {"evaluation": "test", "validation": "validation", "valid": "validation", "val": "validation"}
SPLIT_WORDS |= {"dev": "validation"}
CHUNK = 1 << 20  # characters of a .json file that are read at a time
SPACE, SEPARATOR = re.compile(r"\s*"), re.compile(r"\s*,?\s*")
PARQUET_ROWS = 256  # rows that are decoded at a time: a row may be a whole book


class UnreadableRow(NamedTuple):
    """Stands where a row cannot be read, and says why."""

    problem: str


class RawFile(NamedTuple):
    """A data file, its name as rows cite it (relative to the raw folder) and the split that it belongs to."""

    path: Path
    name: str
    split: str


Row = dict[str, Any]


def find_raw_files(raw: Path) -> list[RawFile]:
    """Return the data files of a raw dataset: a file, or a folder and its subfolders, in the order of their names.

    A folder's source.json says which split a file belongs to; without it the file's own path does
    (`train.jsonl`, `data/test-00000-of-00002.parquet`), and a file that names no split is training data.
    Raises HeirloomError when there is none.
    """
    if not raw.exists():
        raise HeirloomError(f"{raw}: there is no such raw dataset; give a file or a folder of files")
    if raw.is_file():
        readers_of(raw)
        return [RawFile(raw, raw.name, "train")]
    recorded = recorded_splits(raw)
    files = []
    for path in sorted(raw.rglob("*")):
        name = path.relative_to(raw).as_posix()
        hidden = any(part.startswith(".") for part in path.relative_to(raw).parts)
        if path.is_file() and not hidden and suffix_of(path) in READERS and not is_description(path):
            files.append(RawFile(path, name, recorded.get(name) or split_named_by(name)))
    if not files:
        raise HeirloomError(f"{raw}: holds no data file; known are {', '.join(READERS)}")
    return files


def recorded_splits(raw: Path) -> dict[str, str]:
    """Return {file name: split} as source.json has it; empty without one."""
    return {file["path"]: file["split"] for file in read_note(raw).get("files", []) if file.get("split")}


def recorded_hub(raw: Path) -> list[str]:
    """Return the hub repository that source.json names, as a list of none or one.

    Without its commit: one that leaves the rows as they are must leave what is made of them as it is, too.
    """
    hub = read_note(raw).get("source", {}).get("hub")
    return [hub] if hub else []


def read_note(raw: Path) -> dict[str, Any]:
    """Return the source.json of a raw dataset; empty without one."""
    file = raw / SOURCE_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def split_named_by(name: str) -> str:
    """Return the split that a file's path names, its own name first, then its folders; `train` when none does."""
    for part in reversed(Path(name).parts):
        for word in re.split(r"[^a-zA-Z]+", part.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return "train"


def is_description(path: Path) -> bool:
    """Tell whether a file describes a dataset rather than holding rows of it."""
    return path.name in (SOURCE_FILE, "state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json")


def read_rows(file: RawFile) -> Iterator[tuple[int, Row | UnreadableRow]]:
    """Yield (row number, row) of a file; the number counts from 1 and is the line number where rows are lines.

    Raises HeirloomError when the file as a whole cannot be read.
    """
    try:
        yield from readers_of(file.path)(file.path)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise HeirloomError(f"{file.path}: cannot be read ({error}); download or save it again") from None


def suffix_of(path: Path) -> str:
    """Return a path's suffix in small letters, without the .gz of a compressed text format."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else "".join(suffixes[-1:])


def readers_of(path: Path):
    """Return the function that reads files like `path`."""
    try:
        return READERS[suffix_of(path)]
    except KeyError:
        raise HeirloomError(f"{path}: unknown kind of data file; known are {', '.join(READERS)}") from None


def open_text(path: Path) -> io.TextIOBase:
    """Open a text file, compressed or not, without the byte order mark that some editors write."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def checked(value: Any) -> Row | UnreadableRow:
    """Return a decoded row, or what is wrong with it when it is no object with columns."""
    if isinstance(value, dict):
        return value
    return UnreadableRow(f"expected an object with columns, found {type(value).__name__}")


def read_jsonl(path: Path) -> Iterator[tuple[int, Row | UnreadableRow]]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, checked(json.loads(line))
            except json.JSONDecodeError as error:
                yield number, UnreadableRow(f"is not JSON: {error.msg} at column {error.colno}")


def read_json(path: Path) -> Iterator[tuple[int, Row | UnreadableRow]]:
    """Yield the objects of an array, or objects that stand one after another, reading a chunk at a time.

    What follows a broken object cannot be told apart: the rest of the file is given as one unreadable row.
    """
    decoder = json.JSONDecoder()
    with open_text(path) as file:
        text, number, finished = file.read(CHUNK), 0, False
        at = SPACE.match(text).end()
        in_array = text.startswith("[", at)
        at += in_array
        while True:
            at = (SEPARATOR if number else SPACE).match(text, at).end()
            if in_array and text.startswith("]", at):
                rest = text[at + 1 :].strip() or file.read(CHUNK).strip()
                if rest:
                    yield number + 1, UnreadableRow(f"expected nothing after the array, found {rest[:40]!r}")
                return
            try:
                value, end = decoder.raw_decode(text, at)
                complete = end < len(text) or finished  # a number may go on in the next chunk
            except json.JSONDecodeError as error:
                complete, problem = False, f"is not JSON: {error.msg}"
            if complete:
                number, at = number + 1, end
                yield number, checked(value)
            elif not finished:
                chunk = file.read(max(CHUNK, len(text) - at))  # doubling: decoding a long object again stays linear
                text, at, finished = text[at:] + chunk, 0, not chunk
            else:
                if at < len(text) or in_array:
                    problem = problem if at < len(text) else "the array does not end"
                    yield number + 1, UnreadableRow(f"{problem}; nothing from here on could be read")
                return


def read_csv(path: Path) -> Iterator[tuple[int, Row | UnreadableRow]]:
    csv.field_size_limit(1 << 30)
    with open_text(path) as file:
        reader = csv.DictReader(file, delimiter="\t" if suffix_of(path) == ".tsv" else ",")
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                wanted = len(reader.fieldnames or [])
                yield number, UnreadableRow(f"expected {wanted} values as in the header, found more or fewer")
            else:
                yield number, row


def read_txt(path: Path) -> Iterator[tuple[int, Row | UnreadableRow]]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, {"text": line.rstrip("\r\n")}


def read_parquet(path: Path) -> Iterator[tuple[int, Row | UnreadableRow]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from rows_of(file.iter_batches(PARQUET_ROWS))
    except pyarrow.ArrowException as error:
        raise HeirloomError(f"{path}: is not a readable Parquet file ({error}); download or save it again") from None


def read_arrow(path: Path) -> Iterator[tuple[int, Row | UnreadableRow]]:
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as batches:
            yield from rows_of(batches)
    except pyarrow.ArrowException as error:
        raise HeirloomError(f"{path}: is not a readable Arrow stream ({error}); save the dataset again") from None


def rows_of(batches) -> Iterator[tuple[int, Row]]:
    """Yield the rows of Arrow record batches, numbered through."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, PARQUET_ROWS):
            for row in batch.slice(start, PARQUET_ROWS).to_pylist():
                number += 1
                yield number, row


READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".txt": read_txt,
}
