"""The held-out prompts of a processed dataset, and how they are put into batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.processed_dataset import load_split, read_description

COLUMNS = ("row_id", "prompt", "prompt_ids", "reference")


@dataclass(frozen=True)
class Prompt:
    """One held-out prompt; `position` counts from 0 in dataset order."""

    position: int
    row_id: str
    text: str
    ids: tuple[int, ...]
    reference: str


def read_prompts(dataset: Path, limit: int | None) -> list[Prompt]:
    """Return the prompts of the test split in dataset order: the first `limit`, or all.

    Raises HeirloomError when the dataset has no held-out rows, or rows without prompts (kind text).
    """
    kind = read_description(dataset)["kind"]
    rows = load_split(dataset, "test")
    if rows is None:
        raise HeirloomError(
            f"{dataset}: holds no test rows to answer: set processing.test_split, test_rows or test_fraction in the "
            "dataset's file"
        )
    missing = [column for column in COLUMNS if column not in rows.column_names]
    if missing:
        raise HeirloomError(
            f"{dataset}: its {kind} rows have no {', '.join(missing)}: let generation.dataset name a dataset of chats, "
            "preferences or sources and targets (seq2seq)"
        )
    rows = rows.select_columns(list(COLUMNS)).select(range(min(limit or len(rows), len(rows))))
    return [
        Prompt(position, row["row_id"], row["prompt"], tuple(row["prompt_ids"]), row["reference"])
        for position, row in enumerate(rows)
    ]


def check_lengths(
    prompts: Sequence[Prompt], max_new_tokens: int, positions: int | None, *, apart: bool = False
) -> None:
    """Raise HeirloomError when a prompt and its answer need more positions (tokens) than the model has.

    `apart`: prompt and answer have positions of their own, as in an encoder-decoder model.
    """
    longest = max(prompts, key=lambda prompt: len(prompt.ids))
    if positions is None:
        return
    if apart and max(len(longest.ids), max_new_tokens) > positions:
        raise HeirloomError(
            f"prompt {longest.row_id} has {len(longest.ids)} tokens and generation.max_new_tokens is {max_new_tokens}, "
            f"and the model has {positions} positions for each: lower max_new_tokens, or max_length of the dataset"
        )
    if not apart and len(longest.ids) + max_new_tokens > positions:
        raise HeirloomError(
            f"prompt {longest.row_id} has {len(longest.ids)} tokens, and generation.max_new_tokens {max_new_tokens} "
            f"more exceed the model's {positions} positions: lower max_new_tokens, or max_length of the dataset"
        )


def into_batches(prompts: Sequence[Prompt], batch_size: int) -> list[list[Prompt]]:
    """Group prompts of similar length, longest first: little padding, and what does not fit memory fails at once.

    The batches depend on nothing but the prompts and `batch_size`, so that every number of ranks computes the same.
    """
    ordered = sorted(prompts, key=lambda prompt: (-len(prompt.ids), prompt.position))
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
