"""The files that hold a model's weights, and one hash over them."""

from pathlib import Path

from heirloom.content_hashes import content_hash

WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin")


def weights_hash(model: Path) -> str:
    """Return `content_hash` of the weights in a model's folder."""
    return content_hash(file for pattern in WEIGHTS for file in model.glob(pattern))
