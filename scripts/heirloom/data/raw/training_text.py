"""The raw text that a tokenizer is trained on."""

from collections.abc import Iterator
from pathlib import Path

from heirloom.data.raw.data_folders import find_raw_files
from heirloom.data.raw.raw_files import read_rows
from heirloom.data.raw.text_files import UnreadableRow
from heirloom.errors import HeirloomError


def raw_texts(raw: Path | None) -> Iterator[str]:
    """Yield the `text` of every training row of a raw dataset; held-out splits are left out.

    Raises HeirloomError for a row without text, and when there is no row at all.
    """
    if raw is None:
        raise HeirloomError("tokenizer.train_on needs raw text: give --raw, the folder of that raw dataset")
    found = False
    for file in find_raw_files(raw):
        if file.split != "train":
            continue
        for number, row in read_rows(file):
            if isinstance(row, UnreadableRow):
                raise HeirloomError(f"{file.path}, row {number}: {row.problem}")
            if not isinstance(row.get("text"), str):
                raise HeirloomError(
                    f"{file.path}, row {number}: has no `text` but {', '.join(row)}: "
                    "a tokenizer is trained on a dataset of plain text"
                )
            found = True
            yield row["text"]
    if not found:
        raise HeirloomError(f"{raw}: holds no training rows to train a tokenizer on")
