"""ORPO: preference tuning without a reference model, on transformers' Trainer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainingArguments

from heirloom.errors import HeirloomError
from heirloom.models.language_models import class_name, predicts_next_token
from heirloom.training.batches.each_row_once import EachRowOnce
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.inputs.dropout import disable_dropout
from heirloom.training.losses.odds_ratio_loss import COLUMNS, odds_ratio_summary, pair_scores
from heirloom.training.losses.router_loss import router_coefficient


@dataclass
class ORPOConfig(TrainingArguments):
    """transformers' arguments, and ORPO's own by TRL's names, with TRL's defaults."""

    learning_rate: float = field(default=1e-6, metadata={"help": "The initial learning rate for AdamW."})
    beta: float = field(
        default=0.1,
        metadata={"help": "Weight of the odds ratio in the loss: λ of the paper (arXiv:2403.07691)."},
    )
    disable_dropout: bool = field(default=True, metadata={"help": "Whether to disable dropout in the model."})


class ORPOTrainer(EachRowOnce, StepCounts, Trainer):
    """Trainer of pairs; its collator is OddsRatioCollator. Raises HeirloomError for a model that is not causal.

    It logs what TRL's ORPOTrainer logs, by the same names; held-out rows are measured as one batch, whatever the size
    of those that they are computed in.
    """

    loss_is_scaled_for_ga = False  # it is a mean over a pass

    def __init__(self, model: PreTrainedModel, args: ORPOConfig, **others: Any) -> None:
        if not predicts_next_token(model):
            raise HeirloomError(
                f"trainer: orpo compares answers of causal models, and the base is {class_name(model)}: choose another "
                "base"
            )
        if args.disable_dropout:
            disable_dropout(model)
        summary: Callable[..., Any] = partial(held_out_summary, beta=args.beta)
        super().__init__(model=model, args=args, compute_metrics=summary, **others)
        self.model_accepts_loss_kwargs = False  # the model is given no labels, so none are counted
        self.passes: list[dict[str, torch.Tensor]] = []  # what is to be logged of each pass since the last log

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the loss of a pass, with that of a router (the mean over the pass) where the model has one."""
        scores, outputs = self.scores_of(model, inputs)
        summary = odds_ratio_summary(scores, self.args.beta)
        loss = summary.pop("loss")
        self.passes.append({name: value.detach() for name, value in summary.items()})
        coefficient = router_coefficient(self.model)
        return loss + coefficient * outputs.aux_loss if coefficient else loss

    def scores_of(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, Any]:
        """Return a batch's `pair_scores` (B, 6) and the model's outputs."""
        texts = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        outputs = model(**texts, use_cache=False)
        return pair_scores(outputs.logits, **texts, labels=inputs["labels"]), outputs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log also the means over the passes of all ranks since the last time. Every rank calls it."""
        if "loss" in logs and self.passes:
            values = torch.stack([torch.stack([*of_pass.values()]) for of_pass in self.passes])
            means = self.accelerator.reduce(values.mean(dim=0), reduction="mean")
            logs |= zip(self.passes[0], means.tolist(), strict=True)
            self.passes = []
        super().log(logs, start_time)

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Return (None, `pair_scores` (B, 6) of held-out pairs, their chosen texts' tokens (B,))."""
        with torch.no_grad(), self.compute_loss_context_manager():
            scores, _ = self.scores_of(model, self._prepare_inputs(inputs))
        return None, scores, scores[:, COLUMNS.index("chosen_tokens")]


def held_out_summary(prediction: EvalPrediction, beta: float) -> dict[str, float]:
    """Return loss and other values over all held-out pairs."""
    scores = torch.as_tensor(prediction.predictions).double()  # (N, 6)
    return {name: value.item() for name, value in odds_ratio_summary(scores, beta).items()}
