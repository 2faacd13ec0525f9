"""Batches of preference pairs: rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from heirloom.config.arguments.collator_names import CollatorName
from heirloom.config.sections.row_kinds import IGNORED
from heirloom.config.trainers.spec import TrainerSpec
from heirloom.training.batches.collators import CausalCollator
from heirloom.training.inputs.training_command import TrainingCommand

PairCollator = TypeVar("PairCollator", bound=Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]])


@dataclass(frozen=True)
class OddsRatioCollator:
    """Make ORPO's batches: chosen and rejected answers, each after its prompt, in one tensor."""

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and labels, each (2B, T), padded on the right: chosen first, then rejected.

        Labels are IGNORED but for the answers.
        """
        texts = [after_prompt(row["prompt_ids"], row[f"{side}_ids"]) for side in ("chosen", "rejected") for row in rows]
        return CausalCollator(self.pad_token_id, self.pad_to_multiple_of)(texts)


class WholeTextCollator(OddsRatioCollator):
    """Make a reward model's batches: the same tensor without labels, as TRL's RewardTrainer wants it."""

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids and attention_mask, each (2B, T)."""
        batch = super().__call__(rows)
        del batch["labels"]
        return batch


def after_prompt(prompt: Sequence[int], answer: Sequence[int]) -> dict[str, list[int]]:
    """Return the row of an answer and its prompt; training is on the answer alone."""
    return {"input_ids": [*prompt, *answer], "labels": [*[IGNORED] * len(prompt), *answer]}


def pair_collator(
    kind: type[PairCollator], command: TrainingCommand, tokenizer: PreTrainedTokenizerFast
) -> PairCollator:
    """Return the collator of a run on preference pairs. Raises HeirloomError, see `make_preference_collator`."""
    section = command.training
    return make_preference_collator(
        kind,
        section.collator,
        trainer=command.trainer,
        tokenizer=tokenizer,
        pad_to_multiple_of=section.pad_to_multiple_of,
    )


def make_preference_collator(
    kind: type[PairCollator],
    name: CollatorName,
    *,
    trainer: TrainerSpec,
    tokenizer: PreTrainedTokenizerBase,
    pad_to_multiple_of: int | None = None,
) -> PairCollator:
    """Return the collator `training.collator` names, for a trainer of pairs whose batches `kind` makes: TRL's
    DataCollatorForPreference, OddsRatioCollator or WholeTextCollator.

    Give Trainer `remove_unused_columns=False` with it: it cannot know which columns are read.
    Raises HeirloomError when the collator does not fit the trainer.
    """
    trainer.fitting_collator(name)
    return kind(tokenizer.pad_token_id, pad_to_multiple_of=pad_to_multiple_of)
