"""Save a trained adapter, and the base with it merged in."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel, Trainer

from heirloom.failures import first_line
from heirloom.training.checkpoints.shard_merging import ShardMerge, is_hollow, needs_all_of_the_base, without_weights
from heirloom.training.inputs.base_models import base_without_weights, load_base
from heirloom.training.inputs.training_command import TrainingCommand

if TYPE_CHECKING:
    from peft import PeftModel


def has_adapter(trainer: Trainer) -> bool:
    """Say whether an adapter is trained, and not all weights."""
    return hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config")


def adapter_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return the trained weights by name on the main rank. Every rank calls this: under ZeRO-3 each holds a part."""
    if trainer.is_deepspeed_enabled and trainer.model_wrapped.zero_optimization_partition_weights():
        gathered = trainer.model_wrapped._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=True)
        return dict(gathered or {})
    model = trainer.accelerator.unwrap_model(trainer.model)
    return {name: weight.detach().cpu() for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(trainer: Trainer, weights: dict[str, torch.Tensor], base: Path, folder: Path) -> None:
    """Write the adapter to `folder` as peft does; its configuration names the base as the command line did."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    for config in model.peft_config.values():
        config.base_model_name_or_path = base.as_posix() if not base.is_absolute() else base.name
    model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's own card: it names versions, and nothing of this training
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    for key in ("target_modules", "target_parameters", "modules_to_save"):
        if isinstance(settings[key], list):
            settings[key].sort()  # peft keeps a set, whose order is chance
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def merge(trainer: Trainer, command: TrainingCommand, adapter: Path) -> ShardMerge | PreTrainedModel:
    """Return the base with the adapter merged into it, on the CPU; only the main rank calls this.

    The base is read anew in its own precision, also when it was trained on in 4 or 8 bits: merging into quantized
    weights would round the adapter away. It is read file by file while it is written; where that cannot be, the log
    says why, and the whole model is returned. Under ZeRO-3 it is not sharded.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # or the main rank would wait for the others to shard the base with it
    trained = trainer.accelerator.unwrap_model(trainer.model)
    result = merge_by_file(command, adapter, trained)
    model = result.model if isinstance(result, ShardMerge) else result
    model.config.pad_token_id = trained.get_base_model().config.pad_token_id
    if hasattr(trained.get_base_model(), "generation_config"):  # a masked language model has none
        model.generation_config = trained.get_base_model().generation_config
    return result


def merge_by_file(command: TrainingCommand, adapter: Path, trained: "PeftModel") -> ShardMerge | PreTrainedModel:
    """Return the merge of an adapter, or the merged model where the base's files do not allow that."""
    reason = needs_all_of_the_base(command.base, trained)
    if reason is None:
        try:
            hollow = without_weights(base_without_weights(command), adapter)
            return ShardMerge(command.base, with_saved_adapter(hollow, adapter))
        except (NotImplementedError, RuntimeError, ValueError) as error:  # what turns weights into a checkpoint's
            reason = first_line(error)
    print(f"{command.base}: all of it is loaded to merge the adapter: {reason}", flush=True)
    return with_saved_adapter(load_base(command), adapter).merge_and_unload()


def with_saved_adapter(base: PreTrainedModel, adapter: Path) -> "PeftModel":
    """Return a base with an adapter from a folder, the two of a pair of tied layers apart if one is adapted."""
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(base, adapter, torch_device="cpu")
    untie_adapted(adapted)
    return adapted


def untie_adapted(model: "PeftModel") -> None:
    """Give the output layer weights of its own where it shares them with an embedding and one of the two is adapted.

    Training adds an adapter's update to what one of the two computes, and merging would add it to the weights of both.
    """
    base = model.get_base_model()
    into, out = base.get_input_embeddings(), base.get_output_embeddings()
    if out is None:
        return
    layers = [getattr(module, "base_layer", module) for module in (into, out)]
    adapted = [hasattr(module, "base_layer") for module in (into, out)]
    if layers[0].weight is layers[1].weight and any(adapted):
        weight = layers[1].weight.detach()
        layers[1].weight = torch.nn.Parameter(weight if is_hollow(weight) else weight.clone(), requires_grad=False)
        base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False
