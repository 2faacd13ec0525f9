"""Held-out loss as the mean over tokens, so that perplexity is what it says.

transformers' evaluation averages the means of batches: a batch of short answers counts as much as one of long
ones, rows that fill up the last batch are counted twice, and the result depends on the batch size and the ranks.
"""

import math
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

from heirloom.models.language_models import is_masked_language_model, predicts_next_token
from heirloom.training.batches.collators import IGNORED


class TokenWeightedEvaluation:
    """Mixin for a Trainer of language models; construct it with `compute_metrics=token_weighted_metrics`."""

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Return (None, summed negative log-likelihood (B,), trained-on tokens (B,)) of a batch."""
        inputs = dict(self._prepare_inputs(inputs))
        targets = inputs.pop("labels")  # (B, T)
        without_cache = {} if is_masked_language_model(self.model) else {"use_cache": False}
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**inputs, **without_cache).logits  # (B, T, V)
        if predicts_next_token(self.model):
            logits, targets = logits[:, :-1], targets[:, 1:]  # (B, T-1, V), (B, T-1): the token after each position
        losses = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none")
        per_row = losses.view_as(targets).double().sum(dim=1)  # (B,)
        return None, per_row, (targets != IGNORED).sum(dim=1)


def token_weighted_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return the mean loss a token (nats) and perplexity = exp(loss) over all rows."""
    tokens = int(prediction.label_ids.sum())
    loss = float(prediction.predictions.sum()) / max(tokens, 1)
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # exp(710) is too large for a float
