"""Merge an adapter into its base file by file: no more of the base is in memory than the file that is being written.

The base is built without its weights, and the adapter in it. Each weight is read from the base's own files when its
turn comes, merged by the adapter's layer itself (peft's `merge`: LoRA, rsLoRA, DoRA, ranks by layer, embeddings),
written and let go. The folder holds what peft's `merge_and_unload` and transformers' `save_pretrained` would leave
there, byte for byte (of mixtures of experts tensor for tensor, in other files).
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from heirloom.json_files import read_json
from heirloom.models.trained_checkpoints import is_hollow
from heirloom.models.weights import SHARD

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

PATTERN = SAFE_WEIGHTS_NAME.replace(".safetensors", "{suffix}.safetensors")
ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""peft's own name, which it would have to be imported for."""
ORDINARY = ("Linear", "Embedding", "Conv1d", "Conv2d")
"""peft's layers of one weight, called `weight`, that an adapter is added to."""


class ShardMerge:
    """A base and an adapter, of which a merged checkpoint can be written file by file."""

    def __init__(self, base: Path, adapted: "PeftModel") -> None:
        """`adapted`: an adapter on the model of `base`, which `without_weights` has made hollow.

        Raises ValueError, with the reason, where the files of the base do not hold the weights by the names that a
        checkpoint has.
        """
        self.files = files_by_tensor(base)
        self.tied = dict(adapted.get_base_model().all_tied_weights_keys)
        self.layers = {f"{name}.weight": layer for name, layer in adapted_layers(adapted)}
        self.model: PreTrainedModel = adapted.unload()
        """Holds what was trained whole, and no weights else."""
        follow_tied_weights(self.model)
        self.layout = self.checkpoint_layout()

    def checkpoint_layout(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the checkpoint by name, in their order: those trained whole, others on "meta"."""
        every = {name: self.model.get_parameter_or_buffer(name) for name in self.model.state_dict()}
        aliases = {name for name, source in self.tied.items() if every.get(name) is every.get(source)}
        ignored = set(self.model._keys_to_ignore_on_save or ())
        kept = {name: tensor for name, tensor in every.items() if name not in aliases | ignored}
        shapes = {name: tensor.detach().to("meta") if is_hollow(tensor) else tensor for name, tensor in kept.items()}
        layout = revert_weight_conversion(self.model, shapes)
        # each with a storage of its own, by which files are filled: parts of one tensor would count as all of it
        layout = {name: torch.empty_like(each) if each.is_meta else each.detach() for name, each in layout.items()}
        if renamed := [name for name in self.layers if name not in layout]:
            raise ValueError(f"{renamed[0]} has another name in a checkpoint")
        if strange := [name for name, tensor in layout.items() if tensor.is_meta and not self.file_of(name)]:
            raise ValueError(f"the base's files hold no {strange[0]}")
        return layout

    def file_of(self, name: str) -> tuple[Path, str] | None:
        """Return the base's file that holds a weight, and the weight's name there; None where none does."""
        found = name if name in self.files else self.tied.get(name)
        return (self.files[found], found) if found in self.files else None

    def write(self, folder: Path) -> None:
        """Write the merged weights into `folder`, in files as `save_pretrained` makes them, and their index."""
        split = split_torch_state_dict_into_shards(self.layout, filename_pattern=PATTERN, max_shard_size=SHARD)
        for file, names in split.filename_to_tensors.items():
            save_file(dict(self.weights(names)), folder / file, metadata={"format": "pt"})
        if split.is_sharded:
            about = {"total_parameters": self.model.num_parameters(), **split.metadata}
            index = {"metadata": about, "weight_map": split.tensor_to_filename}
            text = json.dumps(index, indent=2, sort_keys=True) + "\n"
            (folder / SAFE_WEIGHTS_INDEX_NAME).write_text(text, encoding="utf-8")

    def weights(self, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield merged weights by name."""
        for name in names:
            expected = self.layout[name]
            if not expected.is_meta:
                yield name, expected.contiguous()
                continue
            file, there = self.file_of(name)
            with safe_open(file, framework="pt") as opened:
                weight = opened.get_tensor(there).to(expected.dtype)
            yield name, merged(self.layers[name], weight) if name in self.layers else weight


def without_weights(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Return a model from the device "meta", its weights on the CPU in place of it, where they take no memory.

    peft puts an adapter on the device of its base, and one on "meta" would have no values either. Biases that were
    trained with the adapter get memory: peft writes them there.
    """
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as opened:
        names = opened.keys()
    trained = {name.replace(".base_layer.", ".") for name in names if name.endswith(".bias")}
    hollow: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for place, module in model.named_modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight not in hollow:
                empty = torch.zeros((), dtype=weight.dtype).expand(weight.shape)
                values = empty.clone() if f"base_model.model.{place}.{name}" in trained else empty
                hollow[weight] = torch.nn.Parameter(values, requires_grad=False)
            module.register_parameter(name, hollow[weight])  # tied weights stay tied
    return model


def merged(layer: "BaseTunerLayer", weight: torch.Tensor) -> torch.Tensor:
    """Return a layer's weight, which may lie in a file, with the adapter added to it."""
    base = layer.get_base_layer()
    empty = base.weight
    base.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    layer.merge()
    result, base.weight = base.weight.detach(), empty
    return result


def files_by_tensor(base: Path) -> dict[str, Path]:
    """Return the file of each tensor that transformers loads from a folder; none where it has no safetensors."""
    if (base / SAFE_WEIGHTS_NAME).is_file():
        with safe_open(base / SAFE_WEIGHTS_NAME, framework="pt") as opened:
            return dict.fromkeys(opened.keys(), base / SAFE_WEIGHTS_NAME)
    if (base / SAFE_WEIGHTS_INDEX_NAME).is_file():
        return {name: base / file for name, file in read_json(base / SAFE_WEIGHTS_INDEX_NAME)["weight_map"].items()}
    return {}


def adapted_layers(model: "PeftModel") -> list[tuple[str, "BaseTunerLayer"]]:
    """Return the layers that have an adapter, by their names in the model that it is wrapped around."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, each) for name, each in model.get_base_model().named_modules() if isinstance(each, BaseTunerLayer)]


def needs_all_of_the_base(base: Path, model: "PeftModel") -> str | None:
    """Return why an adapter cannot be merged into its base file by file; None where it can."""
    files = files_by_tensor(base)
    if not files:
        return "its weights are no safetensors"
    tied = model.get_base_model().all_tied_weights_keys
    for name, layer in adapted_layers(model):
        if type(layer).__name__ not in ORDINARY:
            return f"{name} is adapted as {type(layer).__name__}"
        weight = f"{name}.weight"
        if weight not in files and tied.get(weight) not in files:
            return f"its files hold no {weight}"
    return None


def follow_tied_weights(model: PreTrainedModel) -> None:
    """Let the configuration say so where input and output embeddings do not share their weights any more."""
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    text = model.config.get_text_config()
    with suppress(AttributeError):  # a model without one of the two
        if text.tie_word_embeddings and layers[0].weight is not layers[1].weight:
            model.config.tie_word_embeddings = text.tie_word_embeddings = False
