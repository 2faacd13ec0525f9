"""ORPO on pre-tokenized pairs: the one place that knows where TRL keeps it.

TRL 1.16 has it among its experiments, where it can be moved or removed; then this file changes and no other.
Hong et al., 2024, "ORPO: Monolithic Preference Optimization without Reference Model" (arXiv:2403.07691), eq. 4–7.
"""

import copy
import os
from typing import Any

import torch
from datasets import Dataset

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # or it warns at every import that it may be moved

from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # noqa: E402

from heirloom.training.batches.each_row_once import EachRowOnce  # noqa: E402
from heirloom.training.trainers.pretokenized_trainers import WithoutModelCard  # noqa: E402

__all__ = ["ORPOConfig", "PretokenizedORPOTrainer"]


class PretokenizedORPOTrainer(WithoutModelCard, EachRowOnce, ORPOTrainer):
    """ORPOTrainer that takes `prompt_ids`, `chosen_ids` and `rejected_ids` as they are; it needs a `data_collator`."""

    def __init__(self, *, train_dataset: Dataset, eval_dataset: Dataset | None, **others: Any) -> None:
        super().__init__(
            train_dataset=prepared(train_dataset),
            eval_dataset=prepared(eval_dataset) if eval_dataset is not None else None,
            **others,
        )
        self.use_dpo_data_collator = True  # the given collator makes the same batches; else it warns at each of them

    def _track_num_input_tokens(self, inputs: dict[str, torch.Tensor]) -> None:
        """Count the tokens of both sequences of a pair, as with DPO; Trainer looks for `input_ids` alone."""
        masks = torch.cat([inputs[f"{side}_attention_mask"].flatten() for side in ("chosen", "rejected")])
        super()._track_num_input_tokens({"input_ids": masks, "attention_mask": masks})


class PreparedRows(Dataset):
    """Rows that `map` leaves as they are: TRL renders and tokenizes texts by it, and has no switch against that."""

    def map(self, *args: Any, **kwargs: Any) -> "PreparedRows":
        """Return the rows unchanged."""
        return self


def prepared(rows: Dataset) -> PreparedRows:
    """Return the same rows, memory-mapped as before, as PreparedRows."""
    rows = copy.copy(rows)
    rows.__class__ = PreparedRows
    return rows
