"""The loss as the mean over the tokens of the whole global batch, however many ranks and passes it is spread over.

transformers' Trainer hands num_items_in_batch to every model whose forward takes **kwargs, trusts the model to divide
by it, and then multiplies by the ranks and does not divide by the passes. BertForMaskedLM, T5ForConditionalGeneration
and most masked and encoder-decoder models return the mean over their own pass all the same, so that losses and
gradients are inflated by ranks × gradient_accumulation_steps (transformers 5.23: Trainer.compute_loss and
Trainer.training_step; modeling_bert.py, modeling_t5.py). Causal models divide, and keep their own loss; the few that
do not are refused.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, TrainingArguments

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.errors import HeirloomError
from heirloom.models.language_models import class_name, predicts_next_token, without_adapter

LossFunction = Callable[..., torch.Tensor]
OTHER_LOSSES = ("prophetnet", "xlm-prophetnet")
"""Model types whose own loss is no mean cross entropy of the labels: here it predicts several tokens ahead."""


def token_mean_loss(
    outputs: Mapping[str, Any],
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the cross entropy (nats) of a pass, summed over its labels and divided by those of the global batch.

    `outputs["logits"]`: (B, T, V); `labels`: (B, T), of the same positions, IGNORED where nothing is predicted.
    `num_items_in_batch`: labels of all ranks and passes of the step; without it, those of this pass.
    """
    total = cross_entropy(
        outputs["logits"].flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    count = (labels != IGNORED).sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
    return total / count.clamp(min=1)  # a masked model may find nothing masked


def loss_function(model: PreTrainedModel, args: TrainingArguments) -> LossFunction | None:
    """Return what Trainer wants as `compute_loss_func`; None for causal models, whose own loss is this one.

    Raises HeirloomError for a model whose own loss has more in it than the labels' cross entropy, which would be lost,
    and for a causal one whose own loss is not the mean over the whole step, see check_causal_loss.
    """
    if predicts_next_token(model):
        check_causal_loss(model)
        return None
    if model.config.model_type in OTHER_LOSSES or getattr(model.config, "output_router_logits", False):
        raise HeirloomError(
            f"{class_name(model)} ({model.config.model_type}) trains on more than the cross entropy of its labels, "
            "which this trainer would leave out: use another base, or set output_router_logits to false in its config"
        )
    return partial(token_mean_loss, label_smoothing=args.label_smoothing_factor)


def check_causal_loss(model: PreTrainedModel) -> None:
    """Raise HeirloomError for a causal model that computes its loss itself, in place of transformers' `loss_function`.

    transformers 5.23 has 19 such classes of 189, among them the decoders of BART, Marian and Pegasus taken alone,
    TrOCR, Whisper, XLNet and CPM-Ant. They take num_items_in_batch and ignore it, so Trainer would inflate their
    gradients; and most compare each output with the token just read: copying is all that they would learn. Code without
    **kwargs is never handed num_items_in_batch, and is left alone.
    """
    kinds = type(without_adapter(model)).__mro__
    parameters = inspect.signature(kinds[0].forward).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    forwards = (vars(kind)["forward"] for kind in kinds if "forward" in vars(kind))
    if not any("loss_function" in inspect.getsource(inspect.unwrap(forward)) for forward in forwards):
        raise HeirloomError(
            f"{class_name(model)} ({model.config.model_type}) computes its loss itself, by the pass and not by the "
            "step, so that transformers' Trainer would multiply it by ranks × passes: use another base, of an "
            "encoder-decoder the whole model"
        )
