"""TRL's trainers for rows that are tokenized and masked already."""

from typing import Any

from datasets import Dataset
from trl import DPOTrainer, SFTTrainer

from heirloom.document_isolation import DocumentsStayApart
from heirloom.held_out_batches import HeldOutBatches
from heirloom.token_weighted_evaluation import TokenWeightedEvaluation


class WithoutModelCard:
    """Mixin: no README.md at each checkpoint; it would name paths, and asks a tracker that is not there."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing."""


class PretokenizedSFTTrainer(WithoutModelCard, DocumentsStayApart, HeldOutBatches, TokenWeightedEvaluation, SFTTrainer):
    """SFTTrainer that takes `input_ids` and `labels` as they are; give it SKIP_PREPARATION as dataset_kwargs.

    Packed rows have `seq_lengths` too, and want `padding_free=True`. TRL then makes the collator itself, from the
    arguments; set `evaluation_collator`, because held-out rows are measured row by row.
    """


SKIP_PREPARATION = {"skip_prepare_dataset": True}
"""SFTConfig's own switch: no tokenization, no masks made anew, no truncation."""


class PretokenizedDPOTrainer(WithoutModelCard, DPOTrainer):
    """DPOTrainer that takes `prompt_ids`, `chosen_ids` and `rejected_ids` as they are.

    TRL 1.16 has no switch for that: it renders and tokenizes texts always, and what it makes are these columns.
    """

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset
