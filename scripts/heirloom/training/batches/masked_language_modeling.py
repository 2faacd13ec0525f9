"""Batches for masked language models, whose masks belong to the row: not to its batch, its rank or what came before.

transformers draws the masks of a batch from one stream of random numbers, so that they change with the number of
ranks and of data loader workers. Here each row has its own stream: the draws themselves are transformers'.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.errors import HeirloomError
from heirloom.models.batches import padded_batch
from heirloom.training.batches.collators import attention_mask, check_labels


@dataclass
class MaskingCollator:
    """Mask tokens of rows of `input_ids` and pad them on the right.

    Each token that is not special is chosen with `mlm_probability`; of the chosen, 80% become the mask token, 10% any
    token, 10% stay (Devlin et al., 2019, https://arxiv.org/abs/1810.04805). Only chosen tokens are trained on, and
    of rows with `labels` only those whose label is not IGNORED are chosen. The choice is a function of the row's
    tokens, `seed` and the epoch (see MasksOfEpoch), so that an interrupted training goes on with the same masks.
    """

    tokenizer: PreTrainedTokenizerBase
    mlm_probability: float
    seed: int
    pad_to_multiple_of: int | None = None
    epoch: torch.Tensor = field(init=False, repr=False)  # (1,), in memory that data loader workers share
    masker: DataCollatorForLanguageModeling = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.tokenizer.mask_token is None:
            raise HeirloomError(
                "training.collator: mlm needs a tokenizer with a mask_token, and the base model's has none: name one "
                "in its file of config/models/ (tokenizer.mask_token), start from a masked language model, or choose "
                "another collator"
            )
        self.masker = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=self.mlm_probability)
        self.epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids (masked), attention_mask and labels (IGNORED where nothing was chosen), each (B, T).

        Raises HeirloomError: see check_labels.
        """
        masked, labels = zip(*(self.masked_row(row) for row in rows), strict=True)
        return {
            "input_ids": padded_batch(masked, self.tokenizer.pad_token_id, self.pad_to_multiple_of),
            "attention_mask": padded_batch([attention_mask(row) for row in rows], 0, self.pad_to_multiple_of),
            "labels": padded_batch(labels, IGNORED, self.pad_to_multiple_of),
        }

    def masked_row(self, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the row's input_ids with masks, and its labels, each (T,)."""
        check_labels(row)
        ids = torch.tensor([row["input_ids"]])  # (1, T)
        special = self.tokenizer.get_special_tokens_mask(row["input_ids"], already_has_special_tokens=True)
        kept = torch.tensor([special]).bool() | (torch.tensor([row.get("labels", row["input_ids"])]) == IGNORED)
        name = f"{self.seed} {int(self.epoch)} ".encode() + ids.numpy().tobytes()
        self.masker.generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:8]))
        masked, labels = self.masker.torch_mask_tokens(ids, special_tokens_mask=kept)
        return masked[0], labels[0]


class MasksOfEpoch(TrainerCallback):
    """Gives the rows new masks in each epoch of training.

    Held-out rows want a collator of their own, without this callback, so that their losses compare.
    """

    def __init__(self, collator: MaskingCollator) -> None:
        self.collator = collator

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the collator, before the epoch's data loader starts; `state.epoch` is a fraction after resuming."""
        self.collator.epoch.fill_(int(state.epoch or 0))
