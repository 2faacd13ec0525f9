"""How unlikely a model finds each token of a batch, without the scores of all tokens in memory at once.

Scores (B, T, V) of 8 texts of 2048 tokens over 128,256 words take 4 GB in 16 bits, and in 32 bits, of which the loss is
computed, twice 8 GB more: more than many cards hold beside the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils import ModelOutput

from heirloom.config.sections.row_kinds import IGNORED
from heirloom.models.language_models import is_encoder_decoder, without_adapter

MOST_TOKENS = 1024
"""Tokens whose scores are in memory at once: with 128,256 words about 1.3 GB."""


def token_losses(
    model: torch.nn.Module, inputs: dict[str, Any], targets: torch.Tensor, whole: PreTrainedModel | None = None
) -> torch.Tensor:
    """Return the loss (B, T), nats, of each target (B, T) under the scores of its position; 0 where it is -100.

    `model` computes the scores; `whole` is the model itself, where `model` is something around it (DeepSpeed's engine).
    A batch of more than MOST_TOKENS is computed in two steps: once through all layers, the output layer left out; then
    the output layer and what the model's own code does to its scores (scaling, soft-capping) on a part of the positions
    at a time. Under ZeRO-3, whose weights come layer by layer in an order that it remembers, and for encoder-decoder
    models the scores are computed whole, in the model's own precision, and taken to 32 bits in parts.
    """
    if targets.numel() <= MOST_TOKENS:
        return losses_of(model(**inputs).logits, targets)
    causal = without_adapter(model if whole is None else whole)
    layers = output = None
    if not is_encoder_decoder(causal) and not is_deepspeed_zero3_enabled():
        layers, output = output_of_layers(causal, inputs)
    if output is None:
        return in_parts(model(**inputs).logits, targets)
    losses = []
    for part in parts(targets):
        given = type(output)(last_hidden_state=output[0][:, part])
        with forward_is(layers, lambda *_arguments, given=given, **_options: given):
            losses.append(losses_of(causal(**cut(inputs, part, targets.shape)).logits, targets[:, part]))
    return torch.cat(losses, dim=1)


def following(values: torch.Tensor) -> torch.Tensor:
    """Return what stands one place later, (B, T), at the last place IGNORED: an output is for the next token."""
    return torch.cat([values[:, 1:], torch.full_like(values[:, :1], IGNORED)], dim=1)


def losses_of(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the loss (B, T) of targets (B, T) under scores (B, T, V), computed in 32 bits."""
    losses = cross_entropy(scores.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return losses.view_as(targets)


def in_parts(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return what `losses_of` does, with a part of the positions in 32 bits at a time."""
    return torch.cat([losses_of(scores[:, part], targets[:, part]) for part in parts(targets)], dim=1)


def differentiable_losses(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return what `in_parts` does, for training: nothing but the scores is kept for the backward pass."""
    return LossesInParts.apply(scores, targets)


class LossesInParts(torch.autograd.Function):
    """`in_parts` whose gradient, softmax(scores) less 1 at the target, is made anew and in parts too.

    autograd would keep the log-probabilities of all parts in 32 bits: as much as the whole scores.
    """

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the losses (B, T) of targets (B, T) under scores (B, T, V)."""
        ctx.save_for_backward(scores, targets)
        return in_parts(scores, targets)

    @staticmethod
    def backward(ctx: Any, of_losses: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient (B, T, V), in the precision of the scores, for that of the losses (B, T)."""
        scores, targets = ctx.saved_tensors
        counts = targets != IGNORED
        of_losses, targets = of_losses * counts, targets * counts
        gradient = torch.empty_like(scores)
        for part in parts(targets):  # by a function, so that one part is gone before the next is made
            gradient[:, part] = gradient_of(scores[:, part], targets[:, part, None], of_losses[:, part, None])
        return gradient, None


def gradient_of(scores: torch.Tensor, targets: torch.Tensor, of_losses: torch.Tensor) -> torch.Tensor:
    """Return the gradient (B, T, V) in 32 bits of scores (B, T, V), for that of their losses (B, T, 1)."""
    return scores.softmax(dim=-1, dtype=torch.float32).mul_(of_losses).scatter_add_(-1, targets, -of_losses)


def parts(targets: torch.Tensor) -> Iterator[slice]:
    """Yield the positions of targets (B, T) in pieces of at most MOST_TOKENS tokens, of one position at least."""
    rows, length = targets.shape
    step = max(1, MOST_TOKENS // rows)
    return (slice(start, start + step) for start in range(0, length, step))


def cut(inputs: dict[str, Any], part: slice, shape: torch.Size) -> dict[str, Any]:
    """Return the inputs of a part of the positions: tensors (B, T) are cut, for models that look at their lengths."""
    return {
        name: value[:, part] if isinstance(value, torch.Tensor) and value.shape == shape else value
        for name, value in inputs.items()
    }


def output_of_layers(
    model: PreTrainedModel, inputs: dict[str, Any]
) -> tuple[torch.nn.Module, ModelOutput] | tuple[None, None]:
    """Return the module with all layers and what it gives the rest of the model; the output layer is not computed.

    None for a model of another build: one whose layers or output layer are not called once each, on all positions.
    """
    head = model.get_output_embeddings()
    found: dict[torch.nn.Module, list[Any]] = {model.base_model: [], model.get_decoder(): []}
    found.pop(model, None)
    scored = []

    def no_scores(hidden: torch.Tensor, *_arguments: Any) -> torch.Tensor:
        scored.append(hidden)
        return hidden[..., :1]

    if head is None or not found:
        return None, None
    hooks = [layers.register_forward_hook(lambda module, _, output: found[module].append(output)) for layers in found]
    try:
        with forward_is(head, no_scores):
            model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    shape = inputs["input_ids"].shape
    layers = next((module for module, outputs in found.items() if len(outputs) == 1), None)
    if layers is None or len(scored) != 1 or scored[0].shape[:2] != shape:
        return None, None
    (output,) = found[layers]
    return (layers, output) if isinstance(output, ModelOutput) and output[0].shape[:2] == shape else (None, None)


@contextmanager
def forward_is(module: torch.nn.Module, function: Any) -> Iterator[None]:
    """Let a module compute `function`; what others have put around its own `forward` is there again afterwards."""
    own = module.__dict__.get("forward")
    module.forward = function
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
