"""Make sure that TRL's log-probabilities of a model are the model's own, before anything is measured or trained.

TRL 1.16 computes them from the last hidden states and the output layer's weights (trl.trainer.utils.add_fused_lm_head),
so that no whole logits are kept. It knows how many families scale or cap their logits, and not all: RecurrentGemma and
xLSTM cap them under other names, ModernBERT's decoder and BERT's kin have more layers in their head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.errors import HeirloomError
from heirloom.failures import first_line
from heirloom.models.language_models import class_name, without_adapter

LENGTH = 16
"""Tokens of the probe."""
EXACT, HALF = 1e-3, 0.03
"""How far a log-probability may be off, as a share of the greatest logit, in float32 (the kernel sums in tiles: 1e-6
was seen) and in 16 bits."""
LARGE = 60.0
"""The greatest logit of the probe: a fresh model's are near 0, where a cap of 30 could not be seen."""


class FusedOutput(TrainerCallback):
    """Compares once, when the training begins. Every rank takes part, because under ZeRO-3 each holds a part."""

    def __init__(self, temperature: float = 1.0) -> None:
        """`temperature`: what TRL's head divides logits by."""
        self.temperature = temperature

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        check_fused_output(kwargs["model"], args, self.temperature)


def check_fused_output(model: torch.nn.Module, args: TrainingArguments, temperature: float = 1.0) -> None:
    """Raise HeirloomError when TRL's log-probabilities of `model`, to which it gave a fused head, are not its own."""
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.tensor([[(7 * place + 3) % vocabulary for place in range(LENGTH)]], device=args.device)  # (1, LENGTH)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            greatest = float(model(**inputs).logits.abs().max())
            with enlarged_states(without_adapter(model), max(LARGE / max(greatest, 1e-6), 1.0)):
                logits = model(**inputs).logits[:, :-1].float() / temperature  # (1, LENGTH - 1, V)
                fused = model(**inputs, labels=ids, fused_lm_head=True).log_probs.float()
            own = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = first_line(error)
        raise HeirloomError(
            f"{class_name(model)} ({model.config.model_type}) cannot give TRL's trainer its log-probabilities "
            f"({reason}): {REMEDY}{wider(args, reason)}"
        ) from error
    finally:
        model.train(was_training)
    off = float((own - fused).abs().max()) / max(float(logits.abs().max()), 1.0)
    narrow = args.bf16 or args.fp16 or any(weight.dtype != torch.float32 for weight in model.parameters())
    if not off <= (HALF if narrow else EXACT):
        raise HeirloomError(
            f"{class_name(model)} ({model.config.model_type}): TRL's trainer computes other log-probabilities than the "
            f"model itself, by {off:.2g} of the greatest logit, because its output is more than hidden states times "
            f"weights: {REMEDY}"
        )


@contextmanager
def enlarged_states(model: PreTrainedModel, times: float) -> Iterator[None]:
    """Multiply the last hidden states, which the output layer and TRL read, by a number."""

    def enlarge(module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state * times
        return output

    backbone = model.base_model
    hook = backbone.register_forward_hook(enlarge) if backbone is not model else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


REMEDY = "use trainer: trainer or seq2seq (orpo for pairs), which take the model's own logits, or another base"


def wider(args: TrainingArguments, reason: str) -> str:
    """Return what helps where layers of two precisions meet: a whole layer beside a base of 4 or 8 bits."""
    return ", or set bf16: true" if "dtype" in reason and not args.bf16 else ""
