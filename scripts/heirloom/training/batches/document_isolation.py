"""Make sure that a model does not look from one packed document into another.

A padding-free batch says by its position ids where documents begin, and most models of transformers build their
attention mask from them. Some do not (OPT, Falcon, BLOOM and Mamba, for example), and nothing would tell.
"""

from typing import Any

import torch

from heirloom.errors import HeirloomError
from heirloom.training.batches.packed_attention import is_on_trial, keep_if_right

LENGTH = 8
"""Tokens of each document of the probe."""
TOLERANCE = 0.01
"""Of the spread of the logits. A model that keeps documents apart changed by less than 1e-6 of it, one that does not
by 0.018 (BLOOM, which looks at near tokens most) to 0.97, tiny models with random weights on the CPU."""
ROUNDING = 0.2
"""Of the spread of the logits: two ways to compute attention in 16 bits differ by less, a wrong one by more."""


class DocumentsStayApart:
    """Mixin for SFTTrainer: the first step of a padding-free training makes sure of it."""

    documents_checked = False

    def training_step(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return Trainer's loss. Raises HeirloomError when what is packed would be mixed up."""
        if self.padding_free and not self.documents_checked:
            check_documents_stay_apart(model, self.data_collator, self.args.device)
            self.documents_checked = True
        return super().training_step(model, *args, **kwargs)


def check_documents_stay_apart(model: torch.nn.Module, collator: Any, device: torch.device) -> None:
    """Raise HeirloomError when the logits of a packed document depend on the document before it.

    `collator` is TRL's, padding-free. Every rank calls it, because under ZeRO-3 each holds a part of the model.
    """
    plain = getattr(model, "module", model)
    if is_on_trial(plain):
        keep_if_right(plain, lambda: logits_after(model, collator, device, first=1), ROUNDING)
    logits = [logits_after(model, collator, device, first) for first in (1, 5)]
    change = float((logits[0] - logits[1]).abs().max() / logits[0].std())
    if not change < TOLERANCE:
        raise HeirloomError(
            f"training.packing: {type(plain).__name__} looks from one packed document into "
            "the next, so packed rows would not train what separate ones do: delete packing and padding_free, or "
            "choose a base whose architecture keeps documents apart, such as Llama, Qwen, Mistral or Gemma"
        )


def logits_after(model: torch.nn.Module, collator: Any, device: torch.device, first: int) -> torch.Tensor:
    """Return the logits (LENGTH, V) of a packed document; `first` makes the one before it."""
    vocabulary = getattr(model, "module", model).config.get_text_config().vocab_size
    before = [(first * place + 11) % vocabulary for place in range(LENGTH)]
    document = [(7 * place + 3) % vocabulary for place in range(LENGTH)]
    batch = collator([{"input_ids": before + document, "seq_lengths": [LENGTH, LENGTH]}])
    del batch["labels"]
    tensors = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(**tensors, use_cache=False).logits[0, LENGTH : 2 * LENGTH].float()
    model.train(was_training)
    return logits
