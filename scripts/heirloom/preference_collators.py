"""Batches of preference pairs: rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from trl.experimental.utils import DPODataCollatorWithPadding
from trl.trainer.dpo_trainer import DataCollatorForPreference

from heirloom.collator_names import CollatorName, fitting_collator
from heirloom.collators import IGNORED, extended


@dataclass(frozen=True)
class OddsRatioCollator:
    """Make the batches that TRL's ORPOTrainer makes of texts: chosen and rejected apart, each with its prompt."""

    pad_token_id: int
    pad_to_multiple_of: int | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return {chosen,rejected}_{input_ids,attention_mask,labels}, padded on the right, and
        prompt_{input_ids,attention_mask}, padded on the left; each (B, T) with a T for each of the three.
        """
        features = [self.feature(row) for row in rows]
        batch = DPODataCollatorWithPadding(pad_token_id=self.pad_token_id)(features)
        return {name: extended(values, *self.padding(name)) for name, values in batch.items()}

    def feature(self, row: dict[str, Any]) -> dict[str, list[int]]:
        """Return the columns that ORPOTrainer.tokenize_row makes; training is on the answers alone."""
        prompt = row["prompt_ids"]
        columns = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for side in ("chosen", "rejected"):
            answer = row[f"{side}_ids"]
            columns[f"{side}_input_ids"] = prompt + answer
            columns[f"{side}_attention_mask"] = [1] * len(prompt + answer)
            columns[f"{side}_labels"] = [IGNORED] * len(prompt) + answer
        return columns

    def padding(self, name: str) -> tuple[int, int | None, str]:
        """Return what a tensor of the batch is filled with, to which multiple, and on which side."""
        part, _, kind = name.partition("_")
        value = {"input_ids": self.pad_token_id, "attention_mask": 0, "labels": IGNORED}[kind]
        return value, self.pad_to_multiple_of, "left" if part == "prompt" else "right"


def make_preference_collator(
    name: CollatorName, *, trainer: str, tokenizer: PreTrainedTokenizerBase, pad_to_multiple_of: int | None = None
) -> DataCollatorForPreference | OddsRatioCollator:
    """Return the collator `training.collator` names, for trainer dpo or orpo.

    Give ORPOTrainer `remove_unused_columns=False` with it: it cannot know which columns are read.
    Raises HeirloomError when the collator does not fit the trainer.
    """
    fitting_collator(name, trainer)
    if trainer == "dpo":
        return DataCollatorForPreference(tokenizer.pad_token_id, pad_to_multiple_of=pad_to_multiple_of)
    return OddsRatioCollator(tokenizer.pad_token_id, pad_to_multiple_of)
