"""The first rows of a raw dataset, as files of their own: real ones, and few."""

import json
from itertools import islice
from pathlib import Path

from heirloom.config.dataset import Dataset
from heirloom.data.datasets_by_hand import made_by
from heirloom.data.first_look.trial import raw_rows_here
from heirloom.data.raw.data_folders import find_raw_files
from heirloom.data.raw.raw_dataset import write_note
from heirloom.data.raw.raw_files import read_rows
from heirloom.data.raw.raw_sources import fetch_raw
from heirloom.data.raw.text_files import UnreadableRow
from heirloom.errors import HeirloomError


def write_first_rows(dataset: Dataset, rows: int, folder: Path, work: Path) -> None:
    """Write the first `rows` of each split of a dataset's raw rows to `folder`, which is made: a JSON Lines file each.

    They come from where the workflow has put them; else from the source, in the new folder `work`: of a repository or
    a bucket the first file of each split alone. Raises HeirloomError when a source cannot be read, or a row of it where
    the dataset accepts no bad ones.
    """
    written: dict[str, str | None] = {}
    left: dict[str | None, int] = {}
    names: dict[str | None, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for file in find_raw_files(raw_rows(dataset, work)):
        name = names.setdefault(file.split, f"part-{len(names)}.jsonl")
        written[name] = file.split
        with (folder / name).open("a", encoding="utf-8") as out:
            for number, row in islice(read_rows(file), left.get(file.split, rows)):
                left[file.split] = left.get(file.split, rows) - 1
                if not isinstance(row, UnreadableRow):
                    out.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                elif not dataset.processing.bad_rows:
                    raise HeirloomError(
                        f"{file.name}:{number}: {row.problem}; mend the row, or set processing.bad_rows"
                    )
    write_note(folder, dataset.source, written)


def raw_rows(dataset: Dataset, work: Path) -> Path:
    """Return where raw rows are: where they lie, where the workflow put them, or in `work`, brought now."""
    if here := raw_rows_here(dataset):
        return here
    if dataset.source.generator is not None:
        return made_by("generate_dataset.py", dataset.path, ["source"], work)
    work.mkdir(parents=True)
    splits, _ = fetch_raw(dataset.source, work, first_files=True)
    write_note(work, dataset.source, splits)
    return work
