"""The rows that a trainer gets, checked to be of the kind that it trains on."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute
import torch
from datasets import Dataset, load_from_disk
from transformers import PreTrainedModel

from heirloom.data.processed_dataset import COLUMNS, load_split, read_description
from heirloom.distributed import barrier, host_number, is_first_rank_of_host
from heirloom.errors import HeirloomError
from heirloom.models.language_models import class_name, is_encoder_decoder

USUAL_TRAINER = {"text": "trainer", "chat": "sft", "preference": "dpo", "seq2seq": "seq2seq"}
USUAL_TRAINER |= {"labelled": "kto"}
"""What to recommend for each kind of rows; more trainers may take it."""
MAY_HAVE = {"text": ("labels", "attention_mask"), "chat": ("attention_mask",)}
"""Columns of some datasets of a kind that training reads too: of partly masked text, of rows that are padded."""
POSITIONS = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings?)$")
"""Names of the layers in which transformers' models keep a table of positions."""

ROWS_AT_A_TIME = 10_000
"""Rows whose lengths are looked up together."""


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


def check_lengths(data: TrainingData, model: PreTrainedModel, base: Path, seq_length: int | None) -> None:
    """Raise HeirloomError when rows are longer than the table of positions that a model has.

    `seq_length`: tokens of the rows that are joined anew; None where rows stay as they are.
    """
    positions = table_of_positions(model)
    if positions is None or (seq_length or data.max_length) <= positions:
        return
    longest = seq_length or max(longest_row(split) for split in (data.train, data.test) if split is not None)
    if longest > positions:
        remedy = "training.seq_length" if seq_length else "processing.max_length in the dataset's file"
        raise HeirloomError(
            f"{base}: has {positions:,} positions ({class_name(model)}), and the longest row has {longest:,} tokens: "
            f"lower {remedy}, or choose another base"
        )


def table_of_positions(model: PreTrainedModel) -> int | None:
    """Return how many positions a model has a learned or fixed vector for; None where it computes them (Llama, T5).

    RoBERTa and its kin count from the pad token on, OPT and BART from an offset.
    """
    rows = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and POSITIONS.search(name):
            before = module.padding_idx + 1 if module.padding_idx is not None else getattr(module, "offset", 0)
            rows.append(module.num_embeddings - before)
    return min(rows, default=None)


def longest_row(rows: Dataset) -> int:
    """Return the tokens of the longest sequence: of an input, of labels that have their own, or of a pair's half."""
    if "completion_ids" in rows.column_names:
        return int((token_counts(rows, "prompt_ids") + token_counts(rows, "completion_ids")).max())
    if "prompt_ids" in rows.column_names:
        prompt, chosen, rejected = (token_counts(rows, f"{part}_ids") for part in ("prompt", "chosen", "rejected"))
        return int((prompt + np.maximum(chosen, rejected)).max())
    columns = [name for name in ("input_ids", "labels") if name in rows.column_names]
    return max(int(token_counts(rows, name).max()) for name in columns)


def token_counts(rows: Dataset, column: str) -> np.ndarray:
    """Return the number of tokens (N,) that each row has in a column, without making Python objects of them."""
    tables = rows.select_columns([column]).with_format("arrow").iter(ROWS_AT_A_TIME)
    counts = [pyarrow.compute.list_value_length(table[column]).to_numpy() for table in tables]
    return np.concatenate([np.empty(0, dtype=np.int64), *counts])


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
