"""Switch a model's dropout off, as `disable_dropout` asks for: a preference's loss is to compare answers alone."""

import torch
from torch.nn.modules.dropout import _DropoutNd

NAMES = ("dropout", "layerdrop")
"""Parts of names of numbers that layers hand to torch's functions. TRL's own switch does not know them: OPT's 0.1 and
the attention of Llama and its kin stay as they are (TRL 1.16, trl.trainer.utils.disable_dropout_in_model)."""


def disable_dropout(model: torch.nn.Module) -> None:
    """Let no layer of a model drop anything; its configuration stays as it is."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and any(part in name for part in NAMES):
                setattr(module, name, 0.0)
