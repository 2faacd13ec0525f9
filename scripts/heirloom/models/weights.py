"""The files that hold a model's weights, and one hash over them."""

from pathlib import Path

from heirloom.content_hashes import content_hash

SHARD = "2GB"
"""Most of a weights file: files travel beside each other to S3 and back, a single one of 16 GB as one stream."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin")


def weights_hash(model: Path) -> str:
    """Return `content_hash` of the weights in a model's folder."""
    return content_hash(file for pattern in WEIGHTS for file in model.glob(pattern))


def bytes_of_weights(model: Path) -> int:
    """Return the size of the files of weights in a model's folder."""
    return sum(file.stat().st_size for pattern in WEIGHTS for file in model.glob(pattern))
