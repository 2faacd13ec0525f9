"""How many parameters a model has, wherever and however they are kept: whole, scattered by ZeRO-3, packed in 4 bits."""

import math

import torch


def size(parameter: torch.nn.Parameter) -> int:
    """Return how many weights a parameter stands for, also when ZeRO-3 has scattered or bitsandbytes packed them."""
    if (unpacked := getattr(parameter, "quant_state", None)) is not None:
        return math.prod(unpacked.shape)
    count = getattr(parameter, "ds_numel", parameter.numel())
    packed = type(parameter).__name__ == "Params4bit"  # two 4-bit weights a byte, whatever the type of storage
    return count * 2 * parameter.element_size() if packed else count


def parameter_counts(model: torch.nn.Module) -> dict[str, int]:
    """Return {"parameters", "trained_parameters"}, an adapter's and those of its base; one that is tied counts once."""
    sizes = [(size(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "parameters": sum(count for count, _ in sizes),
        "trained_parameters": sum(count for count, trained in sizes if trained),
    }
