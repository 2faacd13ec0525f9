"""Save a trained adapter: alone, with what its readers must know of the base, or merged into the base."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, Trainer

from heirloom.distributed import barrier
from heirloom.models.adapters.joining import check_joinable, join
from heirloom.models.adapters.putting_together import model_of, put_together
from heirloom.models.adapters.shard_merging import ADAPTER_WEIGHTS, ShardMerge, needs_all_of_the_base
from heirloom.models.model_facts import read_facts
from heirloom.models.trained_checkpoints import is_adapter, load_config, root_of
from heirloom.models.weights import weights_hash
from heirloom.training.inputs.base_models import base_folder, base_without_weights, load_base
from heirloom.training.inputs.training_command import TrainingCommand

MAGNITUDES = ".lora_magnitude_vector"


def has_adapter(trainer: Trainer) -> bool:
    """Say whether an adapter is trained, and not all weights."""
    return hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config")


def adapter_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return the trained weights by name on the main rank. Every rank calls this: under ZeRO-3 each holds a part."""
    if trainer.is_deepspeed_enabled and trainer.model_wrapped.zero_optimization_partition_weights():
        gathered = trainer.model_wrapped._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=True)
        return dict(gathered or {})
    model = trainer.accelerator.unwrap_model(trainer.model)
    named = model.named_parameters(remove_duplicate=False)  # peft asks for a tied layer by both of its names
    return {name: weight.detach().cpu() for name, weight in named if weight.requires_grad}


def save_adapter(trainer: Trainer, weights: dict[str, torch.Tensor], base: str, folder: Path) -> None:
    """Write the adapter to `folder` as peft does; `base` is what its configuration names."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    for config in model.peft_config.values():
        config.base_model_name_or_path = base
    model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's own card: it names versions, and nothing of this training
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    for key in ("target_modules", "target_parameters", "modules_to_save"):
        if isinstance(settings[key], list):
            settings[key].sort()  # peft keeps a set, whose order is chance
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_alone(trainer: Trainer, weights: dict[str, torch.Tensor], command: TrainingCommand, folder: Path) -> None:
    """Write a checkpoint's adapter to `folder`, and how its model generates.

    It is an adapter of the whole model that the base stands on: where the base is an adapter too, of both in one.
    """
    save_adapter(trainer, weights, as_named(root_of(command.base)), folder)
    if is_adapter(command.base):
        join(command.base, folder, folder)
    name_magnitudes(folder / ADAPTER_WEIGHTS)
    model = trainer.accelerator.unwrap_model(trainer.model).get_base_model()
    if hasattr(model, "generation_config"):  # a masked language model has none
        model.generation_config.save_pretrained(folder)


def check_joins(trainer: Trainer, command: TrainingCommand) -> None:
    """Raise HeirloomError, before the first step, when the trained adapter and the base's cannot be one in the end."""
    if has_adapter(trainer) and not command.peft.merge and is_adapter(command.base):
        barrier()  # whoever refuses takes the base away, which another rank may still be reading
        (settings,) = trainer.accelerator.unwrap_model(trainer.model).peft_config.values()
        check_joinable(command.base, settings.to_dict())


def name_magnitudes(file: Path) -> None:
    """Give DoRA's magnitudes, in an adapter's weights, the name that transformers looks for.

    peft saves them without the last part and reads both; transformers' `load_adapter` (5.23) passes over those, with no
    more than a warning, and has other magnitudes then.
    """
    weights = load_file(file)
    names = {name: f"{name}.weight" if name.endswith(MAGNITUDES) else name for name in weights}
    if names != dict(zip(weights, weights, strict=True)):
        save_file({names[name]: weights[name] for name in weights}, file, metadata={"format": "pt"})


def facts_of_base(trainer: Trainer, command: TrainingCommand, lineage: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what an adapter's heirloom.json says of the whole model that it belongs to.

    {path, weights, dtype, pad_token_id}: `weights_hash` of it, and in which precision readers load it, that of the base
    before it was quantized. `lineage`: the models before the one that was trained, the base last.
    """
    root = root_of(command.base)
    known = lineage[-1] if root == command.base else read_facts(command.base).get("base", {})
    asked, saved = command.training.default_dtype, load_config(command.base).dtype
    dtype = str(saved).removeprefix("torch.") if asked == "auto" else asked
    return {
        "path": as_named(root),
        "weights": known.get("weights") or weights_hash(root),
        **({"dtype": dtype} if dtype != "None" else {}),
        "pad_token_id": trainer.accelerator.unwrap_model(trainer.model).get_base_model().config.pad_token_id,
    }


def as_named(folder: Path) -> str:
    """Return a folder's path from where the program runs, the clone's root; one outside of it as it is."""
    here = Path.cwd()
    inside = folder.is_absolute() and folder.is_relative_to(here)
    return (folder.relative_to(here) if inside else folder).as_posix()


def merge(trainer: Trainer, command: TrainingCommand, adapter: Path) -> ShardMerge | PreTrainedModel:
    """Return the base with the adapter merged into it, on the CPU; only the main rank calls this.

    The base is read anew in its own precision, also when it was trained on in 4 or 8 bits: merging into quantized
    weights would round the adapter away. It is read file by file while it is written; where that cannot be, the log
    says why, and the whole model is returned. Under ZeRO-3 it is not sharded.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # or the main rank would wait for the others to shard the base with it
    trained, base = trainer.accelerator.unwrap_model(trainer.model), base_folder(command)
    reason = needs_all_of_the_base(base, trained)
    result = put_together(base, adapter, partial(base_without_weights, command), partial(load_base, command), reason)
    model = model_of(result)
    model.config.pad_token_id = trained.get_base_model().config.pad_token_id
    if hasattr(trained.get_base_model(), "generation_config"):  # a masked language model has none
        model.generation_config = trained.get_base_model().generation_config
    return result
