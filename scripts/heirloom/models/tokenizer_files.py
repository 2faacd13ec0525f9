"""Load, save and copy a model's tokenizer."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from heirloom.errors import HeirloomError
from heirloom.models.remote_code import loading, loading_from

WHERE_FROM = ("name_or_path", "is_local", "local_files_only")
"""Notes that transformers keeps of how a tokenizer was loaded, and would save with it."""

SAMPLES = (
    "It's 1998, and 12345.678 people didn't say: Hello,  World!\n\n\tCafé Cafe\u0301 e\u0300 \ufb01 \u00bd ÀÉ\r\n",
    " 漢字 かな Ελληνικά हिन्दी العربية 🎉👩‍👩‍👧 <|end|> </s> x_y=42;  # don't",
)
"""Texts on which tokenizers of different making differ: digits, cases, spaces, composed and decomposed letters."""


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


def first_difference(
    one: PreTrainedTokenizerFast, other: PreTrainedTokenizerFast, texts: Iterable[str] = SAMPLES
) -> str | None:
    """Return in words the first of `texts` for which two tokenizers give different ids, None where all are equal."""
    for text in texts:
        ids, others = (tokenizer(text, add_special_tokens=False)["input_ids"] for tokenizer in (one, other))
        if ids != others:
            return f"which gives {len(others)} ids in place of {len(ids)} for {text[:40]!r}"
    return None


def copy_tokenizer(source: Path, model: Path) -> None:
    """Put the tokenizer's files into a model's folder, so that it loads from there; they replace the model's own."""
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, model / file.name)


def check_same_ids(tokenizer: PreTrainedTokenizerFast, source: Path, model: Path) -> None:
    """Raise HeirloomError when the tokenizer gives other ids where it stands beside a model's config.json.

    transformers chooses a tokenizer's class by the model's type, for some types whatever the tokenizer's own files say
    (MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS): Qwen2Tokenizer has its own way to split texts, and adds an end token.
    """
    beside = load_tokenizer(model)
    if difference := first_difference(tokenizer, beside):
        raise HeirloomError(
            f"{source}: transformers reads this tokenizer as {type(beside).__name__} beside a model of this type, "
            f"{difference}, so a model would be served with other ids than it was trained on: use a tokenizer that was "
            "made for such models (`source:`), or another model_type, such as qwen3 or llama"
        )
