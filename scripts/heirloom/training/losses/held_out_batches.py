"""Batches of held-out rows, made by a collator of their own."""

from typing import Any

from torch.utils.data import DataLoader


class HeldOutBatches:
    """Mixin for a Trainer: `evaluation_collator`, where it is set, makes the batches of held-out rows.

    So the held-out loss means the same whatever the training does with its rows: they are not packed, and a masked
    language model sees the same masks at every measurement.
    """

    evaluation_collator = None

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Return Trainer's data loader for held-out rows."""
        training = self.data_collator
        self.data_collator = self.evaluation_collator or training
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = training
