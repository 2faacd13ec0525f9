"""Prompts with references, from the rows of chats that supervised fine-tuning learns from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.errors import HeirloomError


def prompt_rows(
    rows: Dataset, tokenizer: PreTrainedTokenizerFast, dataset: Path, chosen: Sequence[int] | None = None
) -> Dataset:
    """Return a row for each of `rows`, or of the `chosen` ones.

    It has row (its number), prompt_ids, prompt, reference (texts) and reference_tokens. The prompt is all before the
    last answer that is trained on; the reference is that answer up to its end token.
    Raises HeirloomError for a row without a prompt.
    """
    prompts, references = [], []
    numbers = range(len(rows)) if chosen is None else chosen
    read = (rows if chosen is None else rows.select(chosen)).select_columns(["input_ids", "labels"])
    for number, row in zip(numbers, read, strict=True):
        first, last = last_answer(row["labels"])
        if not 0 < first < last:
            raise HeirloomError(
                f"{dataset}: row {number} has no prompt before what is trained on, so there is nothing to answer: "
                "process it with train_on: assistant or last_assistant, or choose another dataset"
            )
        answer = row["input_ids"][first:last]
        end = answer.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in answer else len(answer)
        prompts.append(row["input_ids"][:first])
        references.append(answer[:end])
    texts = tokenizer.batch_decode(references, skip_special_tokens=True)
    return Dataset.from_dict(
        {
            "row": numbers,
            "prompt_ids": prompts,
            "prompt": tokenizer.batch_decode(prompts),
            "reference": [text.rstrip("\n") for text in texts],  # templates end a turn with a line
            "reference_tokens": [len(ids) for ids in references],
        }
    )


def check_room(rows: Dataset, dataset: Path, positions: int | None, answer: int) -> None:
    """Raise HeirloomError when a prompt and an `answer` of so many tokens exceed a model's positions (None: no end)."""
    longest = max(rows, key=lambda row: len(row["prompt_ids"]))
    needed = len(longest["prompt_ids"]) + answer
    if positions is not None and needed > positions:
        raise HeirloomError(
            f"{dataset}: the prompt of row {longest['row']} has {needed - answer} tokens, and with an answer of "
            f"training.max_completion_length {answer} it exceeds the model's {positions} positions by "
            f"{needed - positions}: lower max_completion_length, or processing.max_length in the dataset's file"
        )


def last_answer(labels: Sequence[int]) -> tuple[int, int]:
    """Return where the last run of trained tokens begins, and the place after its end; (0, 0) where there is none."""
    trained = np.flatnonzero(np.asarray(labels) != IGNORED)
    if not len(trained):
        return 0, 0
    gaps = np.flatnonzero(np.diff(trained) > 1)
    return int(trained[gaps[-1] + 1 if len(gaps) else 0]), int(trained[-1]) + 1
