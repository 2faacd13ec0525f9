"""Write a checkpoint as others take it: one whole model in safetensors, its tokenizer, chat template and card.

An adapter is merged into its base, in the base's precision. The course of the training and what belongs to no reader
stay behind; the tokens that end an answer are those of the run.
"""

import shutil
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.json_files import read_json, write_json
from heirloom.models.adapters.putting_together import write_whole_model
from heirloom.models.language_models import gives_scores
from heirloom.models.model_facts import FACTS, read_facts
from heirloom.models.trained_checkpoints import (
    GENERATION,
    base_of,
    is_adapter,
    load_config,
    root_of,
    was_saved_quantized,
)
from heirloom.models.weights import bytes_of_weights, weights_hash
from heirloom.training.checkpoints.model_card import about_adapter

CARD = "README.md"
LEFT_OUT = ("trainer_state.json", "adapter")
"""Of a whole checkpoint: the course of its training, and the adapter that is merged into it already."""
BESIDE = 64 << 20
"""Bytes for tokenizer, card and the file system's own."""


def check_exportable(checkpoint: Path) -> None:
    """Raise HeirloomError for a checkpoint of which no whole model that writes can be made. Reads no weights."""
    config = load_config(checkpoint)
    if gives_scores(config):
        raise HeirloomError(
            f"{checkpoint}: is a reward model, whose number no answers can be compared by: its folder is what plain "
            "transformers loads, and `scripts/register.py --to hub` ships it"
        )
    if any(name.endswith("ForMaskedLM") for name in config.architectures or ()):
        raise HeirloomError(f"{checkpoint}: fills gaps and writes no answers: its folder is what transformers loads")
    if was_saved_quantized(config):
        merged = f"; {base_of(checkpoint)} is stored so, and merging would round" if is_adapter(checkpoint) else ""
        raise HeirloomError(
            f"{root_of(checkpoint)}: its weights are stored in 8 or 4 bits{merged}, and an export is in the precision "
            "that its base was made in: let the run's base be the model in 16 or 32 bits (`quantization:` may stay)"
        )


def check_room(place: Path, checkpoint: Path, copies: int) -> None:
    """Raise HeirloomError when `copies` of a checkpoint's whole model have no room where `place` is to be."""
    needed = bytes_of_weights(root_of(checkpoint)) * copies + BESIDE
    above = next(folder for folder in place.absolute().parents if folder.exists())
    free = shutil.disk_usage(above).free
    if free < needed:
        raise HeirloomError(
            f"{place}: needs {in_gigabytes(needed)} and {above} has {in_gigabytes(free)} free: make room, or choose "
            "another place with --output"
        )


def in_gigabytes(size: int) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{size / 1e9:,.1f} GB"


def write_whole(run: str, checkpoint: Path, folder: Path, ends: tuple[int, ...], padding: int) -> None:
    """Write a run's checkpoint to `folder`, which is made, as one whole model.

    `ends`, `padding`: the ids of the tokens that end an answer and that fill a batch. Raises HeirloomError as
    `write_whole_model` does.
    """
    folder.mkdir()
    facts, adapter = read_facts(checkpoint), is_adapter(checkpoint)
    if adapter:
        write_whole_model(checkpoint, folder)
        write_json(folder / FACTS, facts)
    else:
        skipped = shutil.ignore_patterns(*LEFT_OUT, ".*")
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True, ignore=skipped, copy_function=shutil.copyfile)
    if (checkpoint / CARD).is_file():
        text = (checkpoint / CARD).read_text(encoding="utf-8")
        (folder / CARD).write_text(card_of_copy(run, text, checkpoint, facts), encoding="utf-8")
    settings = folder / GENERATION
    generation = read_json(settings) if settings.is_file() else {}
    decided = {"eos_token_id": ends[0] if len(ends) == 1 else list(ends), "pad_token_id": padding}
    if any(generation.get(key) != value for key, value in decided.items()):
        generation.pop("_from_model_config", None)  # transformers would make it anew from config.json
        write_json(settings, generation | decided)
    usual = (folder / GENERATION).stat().st_mode & 0o666
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(usual)  # safetensors writes for its owner alone


def card_of_copy(run: str, card: str, checkpoint: Path, facts: dict) -> str:
    """Return a checkpoint's card as that of its copy, which is a whole model and not the folder that was trained."""
    base = facts.get("base", {}).get("path", "")
    if is_adapter(checkpoint):
        card = card.replace("library_name: peft\n", "library_name: transformers\n", 1)
        card = card.replace(f"{about_adapter(run, base)}\n\n", "", 1)
    merged = f", merged with `{base}` in that model's precision," if is_adapter(checkpoint) else ""
    return (
        f"{card.rstrip()}\n\n## This copy\n\n"
        f"Written by `python scripts/export.py {run}` from the checkpoint with the weights "
        f"`{weights_hash(checkpoint)}`{merged} and read again: plain transformers gave the checkpoint's answers and "
        "perplexity. `FOLDER` and byte for byte above mean that checkpoint.\n"
    )
