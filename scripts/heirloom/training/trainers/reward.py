"""TRL's RewardTrainer for pairs that are tokenized already."""

from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import EvalPrediction, PreTrainedModel
from trl import RewardConfig, RewardTrainer

from heirloom.models.language_models import without_adapter
from heirloom.training.batches.each_row_once import EachRowOnce
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.inputs.adapters import has_quantized_weights
from heirloom.training.trainers.pretokenized_trainers import WithoutModelCard


class PretokenizedRewardTrainer(WithoutModelCard, EachRowOnce, StepCounts, RewardTrainer):
    """RewardTrainer that takes `prompt_ids`, `chosen_ids` and `rejected_ids`; its collator is WholeTextCollator.

    Held-out pairs are measured as one batch, whatever the size of those that they are computed in.
    """

    def __init__(self, model: PreTrainedModel, args: RewardConfig, **others: Any) -> None:
        summary = partial(held_out_summary, centred=args.center_rewards_coefficient or 0.0)
        super().__init__(model=model, args=args, compute_metrics=summary, **others)
        keep_exact(self.model)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Return (None, rewards (B, 2) of the chosen and the rejected texts, their tokens (B, 2))."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            rewards = model(**inputs, use_cache=False).logits.squeeze(-1).float()  # (2B,), the chosen first
        sides = [torch.stack(each.chunk(2), dim=1) for each in (rewards, inputs["attention_mask"].sum(dim=1))]
        return None, sides[0], sides[1]


def held_out_summary(prediction: EvalPrediction, centred: float) -> dict[str, float]:
    """Return the loss over all held-out pairs, and what RewardTrainer logs beside it, by the same names.

    `centred`: center_rewards_coefficient (Eisenstein et al., arXiv:2312.09244, eq. 2).
    """
    rewards = torch.as_tensor(prediction.predictions).double()  # (N, 2)
    margins = rewards[:, 0] - rewards[:, 1]  # (N,)
    loss = -logsigmoid(margins).mean() + centred * rewards.sum(dim=1).square().mean()
    return {
        "loss": loss.item(),
        "accuracy": (margins > 0).double().mean().item(),
        "margin": margins.mean().item(),
        "min_reward": rewards.min().item(),
        "mean_reward": rewards.mean().item(),
        "max_reward": rewards.max().item(),
    }


def keep_exact(model: torch.nn.Module) -> None:
    """Give what is trained beside a quantized base 32 bits again.

    TRL (1.16) turns all of it into bfloat16, also the head, which is a whole layer: its input stays in 32 bits, and it
    would lose small steps. ZeRO-3 wants one type for all that is trained.
    """
    if has_quantized_weights(without_adapter(model)):
        for weight in model.parameters():
            if weight.requires_grad and weight.dtype == torch.bfloat16:
                weight.data = weight.data.float()
