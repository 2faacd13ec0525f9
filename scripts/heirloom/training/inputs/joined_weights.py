"""Adapters of weights that are no layers of their own, as experts that transformers 5 joins into one weight a layer.

peft takes such weights by name (`target_parameters`). Of models whose experts were linear layers in transformers 4 it
also reads the names of those layers as the joined weights' (peft 0.21.2, utils/transformers_weight_conversion.py): the
experts and their router then get adapters unasked, and linear layers of the same names get none. So what peft will do
is asked of peft, on a copy of its configuration.
"""

import copy
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.sections.peft import ALL_LINEAR, BESIDE_PARAMETERS, PeftSection
from heirloom.distributed import say
from heirloom.errors import HeirloomError

if TYPE_CHECKING:
    from peft import LoraConfig


def check_joined_weights(section: PeftSection, config: "LoraConfig", model: PreTrainedModel) -> None:
    """Say which weights that are no layers get an adapter though nobody asked, and which experts get none.

    Raises HeirloomError for names that no such weight has, and for keys that peft cannot combine with such an adapter.
    """
    weights = weights_without_a_layer(model)
    for name in section.target_parameters:
        if not ending(weights, [name]):
            raise HeirloomError(f"peft.target_parameters: {missing(name, weights, model)}")
    targets = targets_of_peft(config, model)
    adapted = ending(weights, targets.target_parameters or ())
    unasked = adapted - ending(weights, section.target_parameters)
    if unasked:
        for key in (each for each in BESIDE_PARAMETERS if getattr(section, each)):
            raise HeirloomError(
                f"peft.{key}: {BESIDE_PARAMETERS[key]}, and of this model peft reads target_modules as such weights "
                f"too ({shown(unasked)}); delete it, or choose other target_modules"
            )
        left_out = sorted(asked_layers(section, model) - {*targets.target_modules})
        others = f", and the linear layers {', '.join(left_out)} get none" if left_out else ""
        say(
            f"warning: peft: {shown(unasked)} of each layer get adapters: of this model peft reads names in "
            f"target_modules as those of joined experts{others}"
        )
    if untouched := {name for name, shape in weights.items() if len(shape) == 3 and ".experts." in name} - adapted:
        say(
            f"warning: peft: the experts get no adapter and stay as they are ({shown(untouched)} of each layer): "
            f"transformers joins their weights, which target_modules does not reach; to adapt them, set "
            f"target_parameters: [{shown(untouched)}]"
        )


def weights_without_a_layer(model: PreTrainedModel) -> dict[str, torch.Size]:
    """Return the shape of each weight of 2 or 3 dimensions, such as (experts, out, in), that is of no known layer."""
    found = {}
    for place, module in model.named_modules():
        if place and not is_adaptable(module):
            for name, weight in module.named_parameters(recurse=False):
                shape = getattr(weight, "ds_shape", weight.shape)  # under ZeRO-3 a weight itself is empty
                if len(shape) in (2, 3):
                    found[f"{place}.{name}"] = shape
    return found


def is_adaptable(module: torch.nn.Module) -> bool:
    """Say whether a module is a layer that target_modules reaches."""
    kinds = (torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv1d, torch.nn.Conv2d)
    return isinstance(module, kinds) or type(module).__name__ == "Conv1D"  # GPT-2's own kind of linear layer


def targets_of_peft(config: "LoraConfig", model: PreTrainedModel) -> "LoraConfig":
    """Return a copy of the configuration with the targets that peft makes of it for this model."""
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    result = copy.deepcopy(config)
    convert_peft_config_for_transformers(result, model=model, conversions=None)
    return result


def ending(weights: dict[str, torch.Size], names: "list[str] | set[str] | tuple[()]") -> set[str]:
    """Return the weights that names mean, as peft matches them: whole, or as whole parts at the end."""
    return {weight for weight in weights for name in names if weight == name or weight.endswith(f".{name}")}


def asked_layers(section: PeftSection, model: PreTrainedModel) -> set[str]:
    """Return the last parts of the names of the linear layers that target_modules names."""
    if section.target_names is not None:
        return {*section.target_names}
    out = model.get_output_embeddings()
    linear = (name for name, each in model.named_modules() if isinstance(each, torch.nn.Linear) and each is not out)
    return {name.rpartition(".")[2] for name in linear}


def missing(name: str, weights: dict[str, torch.Size], model: PreTrainedModel) -> str:
    """Return what is wrong with a name in target_parameters that no weight without a layer has."""
    if any(weight == name or weight.endswith(f".{name}") for weight, _ in model.named_parameters()):
        return f"{name} is a weight of an ordinary layer, or of one dimension; name its layer in target_modules"
    if not weights:
        return f"the model has no {name}: all its weights are of ordinary layers; use target_modules ({ALL_LINEAR})"
    known = {short(weight) for weight in weights}
    return f"the model has no {name}; {did_you_mean(name, known, 'it has')}"


def short(weight: str) -> str:
    """Return the last two parts of a weight's name, which are the same in each layer."""
    return ".".join(weight.split(".")[-2:])


def shown(weights: set[str]) -> str:
    return ", ".join(sorted({short(weight) for weight in weights}))
