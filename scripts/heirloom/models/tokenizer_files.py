"""Load, save and copy a model's tokenizer."""

import shutil
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from heirloom.errors import HeirloomError
from heirloom.models.remote_code import loading, loading_from

WHERE_FROM = ("name_or_path", "is_local", "local_files_only")
"""Notes that transformers keeps of how a tokenizer was loaded, and would save with it."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer in `folder`. Raises HeirloomError when there is none, or one that needs code of its own."""
    if not (folder / "tokenizer_config.json").is_file():
        raise HeirloomError(
            f"{folder}: holds no tokenizer (no tokenizer_config.json): make it with create_tokenizer.py"
        )
    with loading_from(folder):
        return AutoTokenizer.from_pretrained(folder, **loading())


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer to `folder`, without a word about where it was loaded from."""
    for note in WHERE_FROM:
        tokenizer.init_kwargs.pop(note, None)
    tokenizer.name_or_path = ""
    tokenizer.save_pretrained(folder)


def copy_tokenizer(source: Path, model: Path) -> None:
    """Put the tokenizer's files into a model's folder, so that it loads from there; they replace the model's own."""
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, model / file.name)
