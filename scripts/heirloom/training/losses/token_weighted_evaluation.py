"""Held-out loss as the mean over tokens, so that perplexity is what it says.

transformers' evaluation averages the means of batches: a batch of short answers counts as much as one of long
ones, rows that fill up the last batch are counted twice, and the result depends on the batch size and the ranks.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import EvalPrediction
from transformers.integrations import is_deepspeed_zero3_enabled

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.models.batches import in_halves
from heirloom.models.language_models import is_masked_language_model, predicts_next_token
from heirloom.models.token_losses import following, token_losses


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
        if predicts_next_token(self.model):
            targets = following(targets)
        if not is_masked_language_model(self.model):
            inputs["use_cache"] = False

        def losses(rows: Sequence[int]) -> list[torch.Tensor]:
            chosen = {name: rows_of(value, rows, targets) for name, value in inputs.items()}
            return list(token_losses(model, chosen, rows_of(targets, rows, targets), self.model))

        rows = range(len(targets))
        with torch.no_grad(), self.compute_loss_context_manager():
            # under ZeRO-3 all ranks compute together: none may go a way of its own
            found = losses(rows) if is_deepspeed_zero3_enabled() else in_halves(losses, rows, "evaluated")
        per_row = torch.stack(found).double().sum(dim=1)  # (B,)
        return None, per_row, (targets != IGNORED).sum(dim=1)


def rows_of(value: Any, rows: Sequence[int], targets: torch.Tensor) -> Any:
    """Return the given rows of a batch's tensor (B, …); what is none is given back as it is."""
    of_rows = isinstance(value, torch.Tensor) and value.shape[:1] == targets.shape[:1]
    return value[rows[0] : rows[-1] + 1] if of_rows else value


def token_weighted_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return the mean loss a token (nats) and perplexity = exp(loss) over all rows."""
    tokens = int(prediction.label_ids.sum())
    loss = float(prediction.predictions.sum()) / max(tokens, 1)
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # exp(710) is too large for a float
