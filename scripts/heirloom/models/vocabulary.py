"""A model and its tokenizer must agree on the token ids."""

from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.json_files import read_json


def read_vocabulary_size(model: Path) -> int:
    """Return how many token ids the model in folder `model` knows. Raises HeirloomError when it is no model."""
    file = model / "config.json"
    if not file.is_file():
        raise HeirloomError(f"{model}: holds no model (no config.json)")
    config = read_json(file)
    inner = config.get("text_config")
    size = config.get("vocab_size") or (inner.get("vocab_size") if isinstance(inner, dict) else None)
    if not isinstance(size, int):
        raise HeirloomError(f"{file}: says nothing of vocab_size, how many token ids the model knows: bring it back")
    return size


def check_vocabulary(tokens: int, known: int, tokenizer: Path, model: Path) -> None:
    """Raise HeirloomError when a tokenizer of `tokens` entries makes ids that a model does not know.

    A model may know more: real ones round their embedding up to a multiple of 64 or so.
    """
    if tokens > known:
        raise HeirloomError(
            f"{tokenizer}: has {tokens} tokens, but the model {model} knows {known}: give the model the tokenizer that "
            "belongs to it, and no further special tokens"
        )
