"""The held-out prompts of a processed dataset, and how they are put into batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heirloom.config.sections.generation import GenerationSection
from heirloom.data.processed_dataset import held_out_rows, read_description
from heirloom.errors import HeirloomError

AnswerKey = tuple[str, int]
"""The row and the number of the sample: apart, since the ids of a file of prompts may look like anything."""
COLUMNS = ("row_id", "prompt", "prompt_ids", "reference")


@dataclass(frozen=True)
class Prompt:
    """One held-out prompt; `position` counts from 0 in dataset order."""

    position: int
    row_id: str
    text: str
    ids: tuple[int, ...]
    reference: str | None
    sample: int = 0
    """Counts the answers to the same prompt."""

    @property
    def key(self) -> AnswerKey:
        """What tells this answer from all others of the job."""
        return self.row_id, self.sample


def repeated(prompts: Sequence[Prompt], samples: int) -> list[Prompt]:
    """Return each prompt `samples` times, numbered, side by side."""
    return [replace(prompt, sample=sample) for prompt in prompts for sample in range(samples)]


def read_prompts(dataset: Path, limit: int | None) -> list[Prompt]:
    """Return the prompts of the test split in dataset order: the first `limit`, or all.

    Raises HeirloomError when the dataset has no held-out rows, or rows without prompts (kind text).
    """
    kind = read_description(dataset)["kind"]
    rows = held_out_rows(dataset, "answer")
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
    prompts: Sequence[Prompt], section: GenerationSection, positions: int | None, *, apart: bool = False
) -> None:
    """Raise HeirloomError when a prompt is empty, leaves no room for an answer in generation.max_length, or needs more
    positions (tokens) with its answer than the model has.

    `apart`: prompt and answer have positions of their own, as in an encoder-decoder model.
    """
    empty = [prompt.row_id for prompt in prompts if not prompt.ids]
    if empty:
        raise HeirloomError(f"prompt {empty[0]} has no tokens ({len(empty)} prompts in all): fill it in or drop it")
    longest = max(prompts, key=lambda prompt: len(prompt.ids))
    answer = section.longest_answer(0 if apart else len(longest.ids))
    if answer < 1:
        raise HeirloomError(
            f"prompt {longest.row_id} has {len(longest.ids)} tokens, and generation.max_length {section.max_length} "
            "counts prompt and answer: raise it, or lower max_length of the dataset"
        )
    if positions is None:
        return
    if apart and max(len(longest.ids), answer) > positions:
        raise HeirloomError(
            f"prompt {longest.row_id} has {len(longest.ids)} tokens and its answer up to {answer}, "
            f"and the model has {positions} positions for each: lower max_new_tokens, or max_length of the dataset"
        )
    if not apart and len(longest.ids) + answer > positions:
        raise HeirloomError(
            f"prompt {longest.row_id} has {len(longest.ids)} tokens, and generation.max_new_tokens {answer} "
            f"more exceed the model's {positions} positions: lower max_new_tokens, or max_length of the dataset"
        )


def check_vocabulary(prompts: Sequence[Prompt], vocab_size: int, checkpoint: Path) -> None:
    """Raise HeirloomError when a prompt has token ids that the model does not: another tokenizer made them."""
    largest = max(prompts, key=lambda prompt: max(prompt.ids))
    if max(largest.ids) >= vocab_size:
        raise HeirloomError(
            f"prompt {largest.row_id} has the token id {max(largest.ids)}, and {checkpoint} knows {vocab_size} tokens: "
            "the prompts were made with the tokenizer of another model; process the dataset with this model's"
        )


def into_batches(prompts: Sequence[Prompt], batch_size: int) -> list[list[Prompt]]:
    """Group prompts of similar length, longest first: little padding, and what does not fit memory fails at once.

    The batches depend on nothing but the prompts and `batch_size`, so that every number of ranks computes the same.
    """
    ordered = sorted(prompts, key=lambda prompt: (-len(prompt.ids), prompt.position, prompt.sample))
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
