"""Batches of preference pairs: rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from heirloom.config.arguments.collator_names import CollatorName
from heirloom.config.trainers.spec import TrainerSpec
from heirloom.models.batches import padded_batch
from heirloom.training.batches.collators import IGNORED, CausalCollator
from heirloom.training.inputs.training_command import TrainingCommand

PairCollator = TypeVar("PairCollator", bound=Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]])


@dataclass(frozen=True)
class OddsRatioCollator:
    """Make the batches that TRL's ORPOTrainer makes of texts: chosen and rejected apart, each after its prompt.

    Upstream tokenizes, masks and pads in `ORPOTrainer.tokenize_row` and `DPODataCollatorWithPadding`, for texts only.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return {chosen,rejected}_{input_ids,attention_mask,labels}, padded on the right, and
        prompt_{input_ids,attention_mask}, padded on the left; each (B, T) with a T for each of the three.
        """
        prompts = [row["prompt_ids"] for row in rows]
        ones = [[1] * len(prompt) for prompt in prompts]
        batch = {
            "prompt_input_ids": padded_batch(prompts, self.pad_token_id, self.pad_to_multiple_of, side="left"),
            "prompt_attention_mask": padded_batch(ones, 0, self.pad_to_multiple_of, side="left"),
        }
        pad = CausalCollator(self.pad_token_id, self.pad_to_multiple_of)
        for side in ("chosen", "rejected"):
            answered = [after_prompt(row["prompt_ids"], row[f"{side}_ids"]) for row in rows]
            batch |= {f"{side}_{name}": values for name, values in pad(answered).items()}
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
    DataCollatorForPreference or OddsRatioCollator.

    Give ORPOTrainer `remove_unused_columns=False` with it: it cannot know which columns are read.
    Raises HeirloomError when the collator does not fit the trainer.
    """
    trainer.fitting_collator(name)
    return kind(tokenizer.pad_token_id, pad_to_multiple_of=pad_to_multiple_of)
