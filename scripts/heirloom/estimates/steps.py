"""How many steps and tokens a training has: exact from a processed dataset's counts, about from raw bytes before."""

import math
from dataclasses import dataclass
from typing import Any

BYTES_A_TOKEN = 4.0
"""Of English text under a large vocabulary; the demo's tokenizer of 512 tokens has about 2."""
BYTES_A_TOKEN_SMALL = 2.0
SMALL_VOCABULARY = 4096


@dataclass(frozen=True)
class Rows:
    """The training split: rows (None where only bytes are known) and tokens; `exact` once it is processed."""

    rows: int | None
    tokens: int
    longest: int
    exact: bool


@dataclass(frozen=True)
class Steps:
    """Steps of a training, and tokens of all of them without padding; `exact` where rows were counted."""

    steps: int | None
    tokens: int | None
    tokens_an_epoch: int
    exact: bool
    limited: bool = False
    """`max_steps` says how many there are, whatever the rows."""


def from_bytes(raw: int, vocabulary: int, longest: int, packed: bool) -> Rows:
    """Return what raw bytes will about be: tokens, and for rows that are cut to one length also rows."""
    each = BYTES_A_TOKEN_SMALL if vocabulary < SMALL_VOCABULARY else BYTES_A_TOKEN
    tokens = round(raw / each)
    return Rows(max(tokens // longest, 1) if packed else None, tokens, longest, exact=False)


def steps_of_answers(rows: Rows, training: dict[str, Any], answers: int, times: int) -> Steps:
    """Return the steps of a training that learns from `answers` of its own to each prompt, `times` from each batch.

    Prompts that fill no whole step are left out of an epoch (trl.trainer.utils.RepeatSampler). Tokens are those of
    prompts and answers as they are drawn, if answers are as long as the references are.
    """
    prompts = training["global_batch_size"] // answers
    limit = training.get("max_steps", -1)
    if rows.rows is None:
        return Steps(limit if limit > 0 else None, None, rows.tokens * answers, exact=False, limited=limit > 0)
    an_epoch = max(rows.rows // prompts, 1) * times
    steps = limit if limit > 0 else math.ceil(training.get("num_train_epochs", 3.0) * an_epoch)
    tokens = rows.tokens * answers
    return Steps(steps, round(steps / an_epoch * tokens), tokens, exact=False, limited=limit > 0)


def joined(rows: Rows, seq_length: int) -> Rows:
    """Return rows that are joined and cut to exactly `seq_length` tokens; what is left over is dropped."""
    number = rows.tokens // seq_length
    return Rows(number, number * seq_length, seq_length, rows.exact)


def packed(rows: Rows, seq_length: int, strategy: str) -> Rows:
    """Return rows that are packed to at most `seq_length` tokens (heirloom/training/batches/packing.py).

    `wrapped` fills each to the last token. How full others are depends on the rows; they are taken to be full, and the
    number is not exact.
    """
    return Rows(math.ceil(rows.tokens / seq_length), rows.tokens, seq_length, rows.exact and strategy == "wrapped")


def steps_of(rows: Rows, training: dict[str, Any], ranks: int) -> Steps:
    """Return the steps that transformers' Trainer makes of the rows: `training` are a run's keys by name.

    Trainer (5.23, set_initial_training_values): batches of a rank = ⌈⌈rows / batch⌉ / ranks⌉, a step for each
    accumulation of them, the last one of an epoch shorter; max_steps stands above num_train_epochs.
    """
    number, tokens = rows.rows, rows.tokens
    batch = training.get("per_device_train_batch_size", 8)
    accumulation = max(training["global_batch_size"] // (batch * ranks), 1)
    limit = training.get("max_steps", -1)
    epochs = training.get("num_train_epochs", 3.0)
    if number is None:
        seen = None if limit > 0 else round(epochs * tokens)
        return Steps(limit if limit > 0 else None, seen, tokens, exact=False, limited=limit > 0)
    if training.get("dataloader_drop_last"):
        batches = number // (batch * ranks)
    else:
        batches = math.ceil(math.ceil(number / batch) / ranks)
    an_epoch = max(math.ceil(batches / accumulation), 1)
    steps = limit if limit > 0 else math.ceil(epochs * an_epoch)
    return Steps(steps, round(steps / an_epoch * tokens), tokens, rows.exact, limited=limit > 0)
