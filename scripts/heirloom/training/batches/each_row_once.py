"""Batches in which each row of an epoch is trained on once, whatever the ranks, the sampling, and an interruption.

transformers draws the order of `group_by_length` from each rank's own random numbers, which dropout moves apart when
the ranks' batches differ: then rows are lost and others trained on twice. And the last batches of an epoch are filled
up with its first rows, so that every rank has as many: how many are repeated depends on the ranks.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import get_length_grouped_indices

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.distributed import rank, world_size
from heirloom.errors import HeirloomError
from heirloom.training.inputs.training_data import token_counts


class EachRowOnce:
    """Mixin for a Trainer of any kind."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        """Return Trainer's sampler; for group_by_length one whose order is the same on every rank."""
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = self.train_dataset if train_dataset is None else train_dataset
        return GroupedByLength(token_counts(rows, "input_ids").tolist(), self)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Return Trainer's batches of held-out rows: all of them, whatever dataloader_drop_last says of training."""
        drops = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drops

    def get_batch_samples(self, epoch_iterator: Iterator, *args: Any) -> tuple[list, Any]:
        """Return the batches of a step and their labels' number, without those of rows that fill up the epoch."""
        return super().get_batch_samples(without_repeated_rows(self, epoch_iterator), *args)


class GroupedByLength(Sampler):
    """An epoch's rows in random order, those of similar length together: a function of seed and epoch alone.

    `lengths`: tokens of each row. The groups are of the global batch, so that they do not depend on the ranks.
    """

    def __init__(self, lengths: list[int], trainer: Trainer) -> None:
        self.lengths, self.trainer = lengths, trainer

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        args = self.trainer.args
        seed = args.seed if args.data_seed is None else args.data_seed
        epoch = int(self.trainer.state.epoch or 0)  # of the epoch that begins, or goes on after an interruption
        generator = torch.Generator().manual_seed((seed + epoch) % 2**63)
        global_batch = args.train_batch_size * args.gradient_accumulation_steps * world_size()
        return iter(get_length_grouped_indices(self.lengths, global_batch, generator=generator))


def without_repeated_rows(trainer: Trainer, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the batches of this rank; in an epoch's last one nothing is learned from the rows that fill it up.

    Their labels are ignored, which leaves a loss as it is that is divided by the labels of the global batch. A loss
    that is a mean over pairs or over its own pass has no such place, and rows that are packed have no batch dimension:
    there the rows stay repeated.
    """
    args = trainer.args
    size, number = args.train_batch_size, len(trainer.train_dataset)
    rest = number % (size * world_size())
    counts = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
    plain = args.train_sampling_strategy != "batch_rebalance" and not getattr(trainer, "padding_free", False)
    for batch in batches:
        last = trainer.accelerator.gradient_state.end_of_dataloader
        if last and rest and counts and plain and not args.dataloader_drop_last and "labels" in batch:
            own = min(max(rest - rank() * size, 0), size)
            labels = batch["labels"].clone()
            labels[own:] = IGNORED
            batch = {**batch, "labels": labels}
        yield batch


def check_steps(trainer: Trainer) -> None:
    """Raise HeirloomError when the rows make no batch, so that nothing would be trained."""
    args, rows = trainer.args, len(trainer.train_dataset)
    batch = args.train_batch_size * world_size()
    if args.dataloader_drop_last and rows < batch:
        raise HeirloomError(
            f"training.dataloader_drop_last: {rows} rows make no whole batch of {batch} (per_device_train_batch_size "
            f"{args.train_batch_size} × {world_size()} ranks), so nothing would be trained: delete it, or lower "
            "per_device_train_batch_size"
        )
