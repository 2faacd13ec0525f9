"""TRL's KTOTrainer for answers that are tokenized already, with one estimate of KL a step."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from trl import KTOTrainer
from trl.trainer.utils import use_adapter

from heirloom.training.batches.each_row_once import EachRowOnce
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.trainers.pretokenized_trainers import HeadUnderZero3, ReferenceOnceAHost, WithoutModelCard


class PretokenizedKTOTrainer(HeadUnderZero3, WithoutModelCard, ReferenceOnceAHost, EachRowOnce, StepCounts, KTOTrainer):
    """KTOTrainer that takes `prompt_ids`, `completion_ids`, `KL_completion_ids` and `label` as they are.

    TRL (1.16) estimates KL(policy, reference), which shifts the loss, of the rows of one pass over the ranks, so that
    the loss depends on ranks and passes. Here it is of all rows of the step, which with one pass a step is the same.
    """

    step_kl: torch.Tensor | None = None
    """The estimate of the step that is trained, (), the same on every rank; None before its first pass."""
    step_batches: list[dict[str, torch.Tensor]]
    """The passes of that step."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def get_batch_samples(self, epoch_iterator: Iterator, *args: Any) -> tuple[list, Any]:
        """Return the batches of a step and their labels' number, and remember them. Every rank calls it."""
        self.step_batches, count = super().get_batch_samples(epoch_iterator, *args)
        self.step_kl = None
        return self.step_batches, count

    def training_step(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: Any) -> torch.Tensor:
        """Train on one pass; before the first of a step estimate KL of all its rows.

        Not when they are fetched: a training that goes on has its random numbers again only after that, and they decide
        what dropout drops.
        """
        if self.calculate_KL and self.step_kl is None:
            if not self.model.training:  # at the start, after an evaluation (of which what wraps it knows nothing)
                self.model_wrapped.train()
            found = torch.cat([self.log_ratios(batch) for batch in self.step_batches]).mean()
            self.step_kl = self.accelerator.reduce(found, reduction="mean").clamp(min=0)
        return super().training_step(model, inputs, *args)

    @torch.no_grad()
    def log_ratios(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return log policy / reference (B,) of the answers that stand beside other prompts."""
        inputs = self._prepare_inputs(batch)
        with self.compute_loss_context_manager():
            own = super()._compute_kl_logps(self.model_wrapped, inputs)
            if self.precompute_ref_logps:
                return own - inputs["ref_KL_logps"]
            adapted = self.ref_model is None and is_peft_model(self.model)
            bare = self.accelerator.unwrap_model(self.model)
            with use_adapter(bare, adapter_name=None) if adapted else nullcontext():
                return own - super()._compute_kl_logps(self.model if adapted else self.ref_model, inputs)

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """Return KTOTrainer's loss; what was precomputed of the reference's KL is in the step's estimate."""
        if self.model.training and "ref_KL_logps" in inputs:
            inputs = {**inputs, "ref_KL_logps": torch.zeros_like(inputs["ref_KL_logps"])}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _compute_kl_logps(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """Return what KTOTrainer takes the difference of: the step's estimate of the policy, and 0 of the reference.

        It asks for the policy's with gradients on, for the reference's with them off. Held-out rows have their own.
        """
        if not (self.calculate_KL and self.model.training):
            return super()._compute_kl_logps(model, batch)
        size = len(batch["label"])
        return self.step_kl.expand(size) if torch.is_grad_enabled() else torch.zeros_like(self.step_kl).expand(size)
