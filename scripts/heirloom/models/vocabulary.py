"""A model and its tokenizer must agree on the token ids."""

import json
from pathlib import Path

from heirloom.errors import HeirloomError


def read_vocabulary_size(model: Path) -> int:
    """Return how many token ids the model in folder `model` knows. Raises HeirloomError when it is no model."""
    file = model / "config.json"
    if not file.is_file():
        raise HeirloomError(f"{model}: holds no model (no config.json)")
    config = json.loads(file.read_text(encoding="utf-8"))
    return config.get("vocab_size") or config["text_config"]["vocab_size"]


def check_vocabulary(tokens: int, known: int, tokenizer: Path, model: Path) -> None:
    """Raise HeirloomError when a tokenizer of `tokens` entries makes ids that a model does not know.

    A model may know more: real ones round their embedding up to a multiple of 64 or so.
    """
    if tokens > known:
        raise HeirloomError(
            f"{tokenizer}: has {tokens} tokens, but the model {model} knows {known}: give the model the tokenizer that "
            "belongs to it, and no further special tokens"
        )
