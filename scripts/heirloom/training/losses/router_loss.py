"""The loss that spreads tokens over experts, counted once, however many ranks and passes a step has.

Mixtral and its kin add `router_aux_loss_coef` times a mean over the pass to a cross entropy that is divided by the
labels of the global batch. transformers' Trainer then multiplies the sum by the ranks and does not divide it by the
passes (transformers 5.23, Trainer.compute_loss; https://github.com/huggingface/transformers/issues/48690). TRL divides.
"""

from typing import Any

import torch
from transformers import PreTrainedModel


class RouterLoss:
    """Mixin for transformers' own trainers."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Return Trainer's loss with the router's part as the mean over the ranks and passes of the step."""
        coefficient = router_coefficient(self.model)
        if not coefficient or num_items_in_batch is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        times = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        loss = loss + coefficient * outputs.aux_loss * (1 / self.current_gradient_accumulation_steps - times)
        return (loss, outputs) if return_outputs else loss


def router_coefficient(model: PreTrainedModel) -> float:
    """Return what a model multiplies its router's loss by when it adds it to its own; 0 where it has none."""
    config = model.config.get_text_config()
    if not getattr(config, "output_router_logits", False):
        return 0.0
    return getattr(config, "router_aux_loss_coef", getattr(config, "aux_loss_coef", 0.0))
