"""Read a processed dataset: data/processed/NAME with dataset.json, train/ and test/.

kind text         input_ids (every token is trained on)
kind chat         input_ids, labels (-100 where not trained on)
kind preference   prompt_ids, chosen_ids, rejected_ids
kind labelled     prompt_ids, completion_ids, label (true: somebody judged the answer good)
kind seq2seq      input_ids (the source), labels (the target)
The test split has more columns (row_id, prompt, reference, …) for generation and scoring.
"""

from pathlib import Path
from typing import Any

from datasets import Dataset, load_from_disk

from heirloom.errors import HeirloomError
from heirloom.json_files import read_json

COLUMNS = {
    "text": ("input_ids",),
    "chat": ("input_ids", "labels"),
    "preference": ("prompt_ids", "chosen_ids", "rejected_ids"),
    "labelled": ("prompt_ids", "completion_ids", "label"),
    "seq2seq": ("input_ids", "labels"),
}
"""What training reads of a row, by kind."""


def read_description(dataset: Path) -> dict[str, Any]:
    """Return dataset.json of a processed dataset. Raises HeirloomError when `dataset` is none."""
    file = dataset / "dataset.json"
    if str(dataset).startswith("s3:"):
        raise HeirloomError(
            f"{dataset}: a dataset on S3 is fetched by the workflow: name it in a file of config/datasets/ as `source: "
            '{processed: "s3://…", kind: …}`, or give the folder of a copy here'
        )
    if not file.is_file():
        raise HeirloomError(f"{dataset}: is no processed dataset (no dataset.json): make it with create_dataset.py")
    return read_json(file)


def load_split(dataset: Path, split: str) -> Dataset | None:
    """Return the split "train" or "test", memory-mapped; None when the dataset does not have it or it is empty."""
    folder = dataset / split
    if not folder.is_dir():
        return None
    rows = load_rows(folder)
    return rows if len(rows) else None


def load_rows(folder: Path) -> Dataset:
    """Return the rows of a split's folder, memory-mapped. Raises HeirloomError when they cannot be read."""
    try:
        return load_from_disk(str(folder))
    except (OSError, ValueError, TypeError, LookupError) as error:
        told = " ".join(str(error).split())
        raise HeirloomError(
            f"{folder}: its rows cannot be read ({told}): bring back the whole folder, or process the dataset again"
        ) from error


def held_out_rows(dataset: Path, purpose: str) -> Dataset:
    """Return the test split, for a purpose such as "answer". Raises HeirloomError when there is none."""
    rows = load_split(dataset, "test")
    if rows is None:
        raise HeirloomError(
            f"{dataset}: holds no test rows to {purpose}: set processing.test_split, test_rows or test_fraction in the "
            "dataset's file"
        )
    return rows
