"""The rows that a trainer gets, checked to be of the kind that it trains on."""

from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset, load_from_disk
from transformers import PreTrainedModel

from heirloom.data.processed_dataset import COLUMNS, load_split, read_description
from heirloom.distributed import barrier, host_number, is_first_rank_of_host
from heirloom.errors import HeirloomError
from heirloom.models.language_models import class_name, is_encoder_decoder

USUAL_TRAINER = {"text": "trainer", "chat": "sft", "preference": "dpo", "seq2seq": "seq2seq"}
"""What to recommend for each kind of rows; more trainers may take it."""
MAY_HAVE = {"text": ("labels", "attention_mask"), "chat": ("attention_mask",)}
"""Columns of some datasets of a kind that training reads too: of partly masked text, of rows that are padded."""


@dataclass(frozen=True)
class TrainingData:
    """The columns that training reads, of both splits; `test` is None when nothing is held out."""

    kind: str
    max_length: int
    train: Dataset
    test: Dataset | None


def load_training_data(dataset: Path, kinds: tuple[str, ...]) -> TrainingData:
    """Return the splits of a processed dataset whose kind is one of `kinds`.

    Raises HeirloomError when it is of another kind, which names the trainer for it, or has nothing to train on.
    """
    facts = read_description(dataset)
    if facts["kind"] not in kinds:
        raise HeirloomError(
            f"{dataset}: holds rows of kind {facts['kind']}, this trainer takes {' or '.join(kinds)}: "
            f"train on it with trainer: {USUAL_TRAINER[facts['kind']]}, or choose another dataset"
        )
    train, test = load_split(dataset, "train"), load_split(dataset, "test")
    if train is None:
        raise HeirloomError(f"{dataset}: its train split is empty, so there is nothing to train on")
    read = (*COLUMNS[facts["kind"]], *MAY_HAVE.get(facts["kind"], ()))
    columns = [column for column in train.column_names if column in read]
    return TrainingData(
        kind=facts["kind"],
        max_length=facts["max_length"],
        train=train.select_columns(columns),
        test=test.select_columns(columns) if test is not None else None,
    )


def check_rows(data: TrainingData, model: PreTrainedModel, base: Path) -> None:
    """Raise HeirloomError when the rows are not of the kind that the model reads.

    An encoder-decoder model would find the answers of chats in its input, and a decoder-only one has no second input.
    """
    if is_encoder_decoder(model) and data.kind != "seq2seq":
        raise HeirloomError(
            f"{base}: is an encoder-decoder model ({class_name(model)}), which learns from sources and targets, and "
            f"the dataset holds {data.kind} rows: process one with seq2seq_processing_function, or choose another base"
        )
    if data.kind == "seq2seq" and not is_encoder_decoder(model):
        raise HeirloomError(
            f"{base}: is no encoder-decoder model ({class_name(model)}), and the dataset holds sources and targets "
            "(seq2seq rows): process one of chats, or choose another base, such as T5 or BART"
        )


def copied_rows(data: TrainingData, work: Path | str) -> TrainingData:
    """Return the same rows from a copy in the folder for work in progress, one a host. Every rank calls it."""
    copies = {}
    for split in ("train", "test"):
        rows, folder = getattr(data, split), Path(work) / "rows" / f"{split}-{host_number()}"
        if rows is not None:
            if is_first_rank_of_host():
                rows.save_to_disk(folder)
            barrier()
            copies[split] = load_from_disk(str(folder))
    return replace(data, **copies)
