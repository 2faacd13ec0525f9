"""What a model's own small files say before its weights are here: sizes, licence, code, the end of a turn."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoConfig, PreTrainedTokenizerFast

from heirloom.config.sections.processing import ProcessingSection
from heirloom.config.sections.row_kinds import IGNORED
from heirloom.config.sections.source import ShapeSection
from heirloom.data.dataset_creation import create_dataset
from heirloom.data.processed_dataset import load_split
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.errors import HeirloomError
from heirloom.estimates.model_flops import EXPERTS
from heirloom.estimates.model_shape import model_shape
from heirloom.json_files import read_json
from heirloom.models.fetching import TOKENIZER_FILES
from heirloom.models.fresh_models import architecture
from heirloom.models.language_models import longest_text
from heirloom.models.remote_code import loading, loading_from
from heirloom.models.tokenizer_files import load_tokenizer

CARD = "README.md"
SMALL_FILES = (*TOKENIZER_FILES, "generation_config.json", CARD)
CHAT = [
    {"role": "user", "content": "What is red?"},
    {"role": "assistant", "content": "A color."},
    {"role": "user", "content": "And seven?"},
    {"role": "assistant", "content": "A number."},
]
"""What the chat template is tried on."""
LONGEST = 1024


def licence(folder: Path) -> str | None:
    """Return the licence that the head of the model's card names; None where there is no such word."""
    file = folder / CARD
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    head = text.split("\n---", 1)[0].removeprefix("---") if text.startswith("---") else ""
    try:
        content = yaml.safe_load(head)
    except yaml.YAMLError:
        return None
    named = (content.get("license_name") or content.get("license")) if isinstance(content, dict) else None
    return str(named) if named else None


def shape(config: dict[str, Any]) -> dict[str, Any] | str:
    """Return the keys of `shape:` that a config.json has, or why the plan knows no sizes of such a model."""
    known = model_shape(config)
    if isinstance(known, str):
        return known
    keys = {key: config[key] for key in ShapeSection.model_fields if config.get(key) is not None}
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    return ShapeSection.model_validate(keys | ({"dtype": dtype} if dtype else {})).model_dump(exclude_unset=True)


def remarks(folder: Path) -> Iterator[str]:
    """Yield what its user must know of a model. Raises HeirloomError for one that cannot be trained here."""
    config = read_json(folder / "config.json")
    if config.get("auto_map"):
        yield "it brings code of its own: a run on it needs trust_remote_code: true (read the code first)"
    else:
        with loading_from(folder):
            loaded = AutoConfig.from_pretrained(folder, **loading())
        architecture(loaded)
        if (longest := longest_text(loaded)) is not None:
            yield f"a text may be {longest:,} tokens long: max_length of its datasets is at most that"
    if any(config.get(name) for name in EXPERTS):
        yield "it is a mixture of experts: with peft, target_parameters reaches experts that are one weight"


def end_of_turn(folder: Path) -> tuple[str | None, str | None]:
    """Return the token that ends an assistant's turn in the tokenizer's chat template, and what is wrong with it.

    The template is tried on two turns, as a dataset of chats is processed. (None, None) without a template.
    """
    tokenizer = load_tokenizer(folder)
    if not tokenizer.chat_template:
        return None, None
    with tempfile.TemporaryDirectory() as work:
        raw, made = Path(work) / "raw", Path(work) / "made"
        raw.mkdir()
        (raw / "train.jsonl").write_text(json.dumps({"messages": CHAT}) + "\n", encoding="utf-8")
        section = ProcessingSection(processing_function="dummy_processing_function", max_length=LONGEST)
        ended = with_an_end(tokenizer, folder, Path(work) / "tokenizer")
        try:
            create_dataset(raw, ended, section, made)
        except HeirloomError as error:
            return None, str(error)
        (row,) = load_split(made, "train")
    last = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != IGNORED][-1]
    special = last in Tokenizer(ended).transformers_tokenizer.added_tokens_decoder
    token = tokenizer.convert_ids_to_tokens(last)
    return (token, None) if special else (None, f"no special token ends a turn: the last trained one is {token!r}")


def with_an_end(tokenizer: PreTrainedTokenizerFast, folder: Path, copy: Path) -> Path:
    """Return a folder whose tokenizer has an end token, without which no rows are made; `copy` takes it if need be."""
    if tokenizer.eos_token is not None:
        return folder
    tokenizer.add_special_tokens({"eos_token": next(iter(tokenizer.added_tokens_encoder), "<|end|>")})
    tokenizer.save_pretrained(copy)
    return copy


def tokenizer_changes(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the keys of `tokenizer:` that a model's files ask for, and what its user has to decide."""
    tokenizer = load_tokenizer(folder)
    token, problem = end_of_turn(folder)
    keys, todo = {}, []
    if not tokenizer.chat_template:
        todo.append("tokenizer.chat_template: it has none; chats need a file of config/chat_templates/")
    if problem is not None:
        todo.append(f"tokenizer.chat_template: two turns of a chat cannot be trained on with its own: {problem}")
    if token is not None and token != tokenizer.eos_token:
        keys["eos_token"] = token
    elif tokenizer.eos_token is None:
        todo.append("tokenizer.eos_token: it has none, so no answer would ever end")
    return keys, todo
