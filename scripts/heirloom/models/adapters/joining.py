"""Two adapters, one trained on top of the other, as one: W + s₁B₁A₁ + s₂B₂A₂ = W + s₂ [s₁/s₂ B₁, B₂] [A₁; A₂].

The ranks add up (peft's `add_weighted_adapter` with `combination_type="cat"` does the same in a model's memory). What
both have trained whole is as the later one left it.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from heirloom.errors import HeirloomError
from heirloom.json_files import read_json
from heirloom.models.adapters.shard_merging import ADAPTER_WEIGHTS
from heirloom.models.trained_checkpoints import ADAPTER

BIASES = ("none", "lora_only", "all")
"""peft's values of `bias`, each with all that the one before has."""
INTO = (".lora_A.weight", ".lora_embedding_A")
OUT = (".lora_B.weight", ".lora_embedding_B")
Weights = dict[str, torch.Tensor]


def join(first: Path, second: Path, folder: Path) -> None:
    """Write to `folder`, where there is one, the adapter that does what `first` and then `second` do.

    `second` was trained on what `first` makes of its base. The joined one is an adapter of the base of `first`.
    Raises HeirloomError when one of the two is more than a low-rank update (DoRA, ranks by layer), and when one has
    trained whole what the other adapts.
    """
    settings = [read_json(adapter / ADAPTER) for adapter in (first, second)]
    check_joinable(first, settings[1])
    whole, adapted = modules_of(settings)
    scales = [scale_of(own) for own in settings]
    ranks = [own["r"] for own in settings]
    parts = [load_file(adapter / ADAPTER_WEIGHTS) for adapter in (first, second)]
    weights = joined_weights(*parts, ratio=scales[0] / scales[1], ranks=(ranks[0], ranks[1]))
    of_all: dict[str, Any] = {
        "r": sum(ranks),
        "lora_alpha": whole_number(scales[1] * sum(ranks)),
        "use_rslora": False,
        "target_modules": sorted(adapted[0] | adapted[1]),
        "modules_to_save": sorted(whole[0] | whole[1]) or None,
        "bias": max((own["bias"] for own in settings), key=BIASES.index),
        "base_model_name_or_path": settings[0]["base_model_name_or_path"],
    }
    text = json.dumps(settings[1] | of_all, indent=2, sort_keys=True) + "\n"
    (folder / ADAPTER).write_text(text, encoding="utf-8")
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def check_joinable(first: Path, second: dict[str, Any]) -> None:
    """Raise HeirloomError, as `join`, for an adapter in a folder and the settings of one that is trained on it."""
    settings = [read_json(first / ADAPTER), second]
    for adapter, own in zip((first, f"the adapter on {first}"), settings, strict=True):
        if problem := not_joinable(own):
            raise HeirloomError(f"{adapter}: {problem} cannot be joined with another adapter: set peft.merge: true")
    whole, adapted = modules_of(settings)
    if both := sorted((whole[0] & adapted[1]) | (whole[1] & adapted[0])):
        raise HeirloomError(
            f"{first} and the adapter on it: one trains {', '.join(both)} whole and the other adapts it, which no one "
            "adapter holds: set peft.merge: true"
        )


def modules_of(settings: list[dict[str, Any]]) -> list[list[set[str]]]:
    """Return the names of the modules that adapters train whole, for each, and of those that they adapt."""
    return [[set(own.get(key) or []) for own in settings] for key in ("modules_to_save", "target_modules")]


def not_joinable(settings: dict[str, Any]) -> str | None:
    """Return what makes an adapter more than one low-rank update of each of its modules, in words."""
    if settings.get("peft_type") != "LORA":
        return f"an adapter of the kind {settings.get('peft_type')}"
    if settings.get("use_dora"):
        return "DoRA (use_dora), which is no sum of matrices,"
    for key in ("rank_pattern", "alpha_pattern", "target_parameters"):
        if settings.get(key):
            return f"an adapter with {key}"
    if not isinstance(settings.get("target_modules"), list | set):
        return "an adapter whose target_modules are no list of names"
    return None


def scale_of(settings: dict[str, Any]) -> float:
    """Return the factor of an adapter's update: lora_alpha / r, with rsLoRA lora_alpha / sqrt(r) (arXiv:2312.03732)."""
    rank = settings["r"]
    return settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def whole_number(value: float) -> float | int:
    """Return a number as peft writes lora_alpha where it is a whole one."""
    return int(value) if value == int(value) else value


def joined_weights(first: Weights, second: Weights, ratio: float, ranks: tuple[int, int]) -> Weights:
    """Return the weights of both by name: A (rank, in) one below the other, B (out, rank) side by side.

    A module that one of the two leaves alone gets zeros for its ranks. What is no such matrix (a bias, a layer trained
    whole) is the second's, where it has one. `ratio`: scale of the first / scale of the second.
    """
    modules = {name.rpartition(".lora_")[0] for name in (*first, *second) if ".lora_" in name}
    first, second = (
        {bias_name(name, modules) if name.endswith(".bias") else name: value for name, value in each.items()}
        for each in (first, second)
    )
    found: Weights = {}
    for name in sorted({*first, *second}):
        one, other = first.get(name), second.get(name)
        if name.endswith((*INTO, *OUT)):
            axis = 0 if name.endswith(INTO) else 1
            if one is not None and axis == 1 and ratio != 1:
                one = one.float() * ratio
            parts = [
                absent(other_part, axis, rank) if part is None else part
                for part, other_part, rank in ((one, other, ranks[0]), (other, one, ranks[1]))
            ]
            found[name] = torch.cat(parts, dim=axis).contiguous()
        else:
            found[name] = one if other is None else other
    return found


def bias_name(name: str, adapted: set[str]) -> str:
    """Return what peft calls a bias where the modules `adapted` have an adapter: that of such a one lies deeper."""
    module = name.removesuffix(".bias").removesuffix(".base_layer")
    return f"{module}.base_layer.bias" if module in adapted else f"{module}.bias"


def absent(like: torch.Tensor, axis: int, rank: int) -> torch.Tensor:
    """Return zeros of the shape of `like`, but for as many ranks along `axis`."""
    shape = list(like.shape)
    shape[axis] = rank
    return torch.zeros(shape, dtype=like.dtype)
