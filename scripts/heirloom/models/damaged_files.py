"""Which file of a model's folder is damaged, and what to say of a folder that cannot be loaded.

transformers and safetensors say it by exceptions of many kinds, most of them without the file's name; a damaged
generation_config.json they pass over. Nothing of a model is loaded here, so that a look costs milliseconds.
"""

import json
import re
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.failures import sentence_of
from heirloom.json_files import read_json

SETTINGS = ("config.json", "generation_config.json", "adapter_config.json")
"""Read before a model is loaded."""
OBJECTS = ("*config.json", "tokenizer.json", "*.index.json", "special_tokens_map.json", "added_tokens.json")
TEXTS = ("chat_template.jinja", "merges.txt")
OF_A_TOKENIZER = re.compile("tokenizer|sentencepiece|tiktoken", re.IGNORECASE)
OTHER_SHAPES = "ignore_mismatched_sizes"
"""A part of what transformers says of weights that are not those of config.json."""
LONGEST_HEADER = 100_000_000
"""Bytes, the limit of safetensors."""


def check_settings(folder: Path) -> None:
    """Raise HeirloomError, which names the file, when one of the settings in a model's folder is damaged."""
    for name in SETTINGS:
        if (folder / name).is_file():
            read_json(folder / name)


def check_files(folder: Path) -> None:
    """Raise HeirloomError, which names the file, when a file in a model's folder is cut short or no longer whole.

    Of weights only the table at the head is read, and that the file is as long as the table says.
    """
    for pattern in OBJECTS:
        for file in sorted(folder.glob(pattern)):
            content = read_json(file)
            if file.name.endswith(".index.json"):
                check_shards(file, content)
    for name in TEXTS:
        if (folder / name).is_file():
            try:
                (folder / name).read_bytes().decode()
            except UnicodeDecodeError as error:
                raise damaged(folder / name, f"it is no UTF-8 text: {error}") from None
    for file in sorted(folder.glob("*.safetensors")):
        check_weights(file)


def check_shards(index: Path, content: dict[str, Any]) -> None:
    """Raise HeirloomError when a file of weights that an index names is not there."""
    named = content.get("weight_map")
    if not isinstance(named, dict):
        raise damaged(index, "it has no weight_map")
    for name in sorted(set(map(str, named.values()))):
        if not (index.parent / name).is_file():
            raise HeirloomError(f"{index.parent / name} is missing, which {index.name} names: bring it back")


def check_weights(file: Path) -> None:
    """Raise HeirloomError when a safetensors file is not as long as its own table says.

    The form: the table's length in 8 bytes, the table as JSON with `data_offsets` of each tensor, the tensors
    (github.com/huggingface/safetensors, Format).
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            table = json.loads(opened.read(length)) if length <= min(size, LONGEST_HEADER) else {}
        ends = [entry["data_offsets"][1] for name, entry in table.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except OSError as error:
        raise damaged(file, error.strerror) from None
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise damaged(file, "it does not begin with the table of a safetensors file") from None
    if size != expected:
        raise damaged(file, f"it has {size:,} bytes, and its head tells of {expected:,}")


def damaged(file: Path, problem: str | None) -> HeirloomError:
    return HeirloomError(f"{file} is damaged ({problem}): bring it back, or make it again")


def not_loaded(folder: Path, error: Exception, purpose: str = "") -> HeirloomError | None:
    """Return what to say of a model's folder that a library could not load; None for what is not the folder's fault.

    That is memory, disk and ranks, and what nobody expects of a model. `purpose` is what it was loaded for: " for X".
    """
    if sentence_of(error) is not None:
        return None
    if isinstance(error, RuntimeError) and OTHER_SHAPES not in str(error):
        return None
    try:
        check_files(folder)
    except HeirloomError as found:
        return found
    if OTHER_SHAPES in str(error):
        told = "its weights have other shapes than its config.json says"
        return HeirloomError(f"{folder}: cannot be loaded{purpose}: {told}: bring back both as they were saved")
    if not (folder / "tokenizer.json").is_file() and OF_A_TOKENIZER.search(str(error)):
        return HeirloomError(
            f"{folder}: holds no tokenizer.json, and what it holds cannot be converted here ({first_line(error)}): "
            "load it where `sentencepiece` is installed, and give the folder that save_pretrained() writes"
        )
    return HeirloomError(f"{folder}: cannot be loaded{purpose}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """Return the beginning of what an error says, with its kind where Python raised it over a value."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return f"{type(error).__name__}: {told}" if isinstance(error, LookupError | AttributeError) or not told else told
