"""A checkpoint's model without its weights, which another process has: what it is, and in which type it was saved."""

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from heirloom.models.remote_code import loading, loading_from
from heirloom.models.trained_checkpoints import check_base, check_kind, load_config, root_of, take_generation_config

FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""What safetensors calls the types that models are loaded in."""


def load_hollow(checkpoint: Path) -> PreTrainedModel:
    """Return a checkpoint's model on the device "meta".

    Raises HeirloomError as `load_model` does.
    """
    config = load_config(checkpoint)
    check_kind(checkpoint, config, scores=False)
    check_base(checkpoint)
    architecture = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    place = root_of(checkpoint)
    with loading_from(place), torch.device("meta"):
        model = architecture.from_config(config, trust_remote_code=loading()["trust_remote_code"])
    for folder in (place, checkpoint):
        take_generation_config(model, folder)
    return model.eval()


def saved_dtype(model: Path) -> str | None:
    """Return the type of the first floating-point tensor in a model's folder of safetensors; None without one."""
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                if (kind := FLOATS.get(tensors.get_slice(name).get_dtype())) is not None:
                    return kind
    return None
