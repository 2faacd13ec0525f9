"""Bring a pre-trained model or its tokenizer here: from the Hugging Face Hub, S3 or a local folder."""

import fnmatch
import shutil
from collections.abc import Callable
from pathlib import Path

from heirloom import hub, s3
from heirloom.config.sections.source import ModelSource
from heirloom.errors import HeirloomError
from heirloom.models.damaged_files import check_files

TOKENIZER_FILES = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "additional_chat_templates/*"),
    *("vocab.*", "merges.txt", "spiece.model", "sentencepiece*.model"),
    "config.json",  # names the model type, from which transformers chooses the class of an old tokenizer
    "*.py",  # code of tokenizers that transformers does not have
)
MODEL_FILES = ("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json", "*.py")
"""`*.py`: code of models that transformers does not have; in the top folder; run only for a run that says
`trust_remote_code: true`."""


def fetch(source: ModelSource, destination: Path, patterns: tuple[str, ...]) -> None:
    """Write the source's files that match one of `patterns` to the folder `destination`, which is made.

    Raises HeirloomError when the place cannot be read, holds none of them, or a damaged one.
    """

    def wanted(name: str) -> bool:
        if name.endswith(".py") and "/" in name:
            return False
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    destination.mkdir(parents=True, exist_ok=True)
    if source.hub:
        commit = hub.resolve_commit(source.hub, "model", source.revision)
        files = [file for file in hub.list_files(source.hub, "model", commit) if wanted(file.path)]
        if files:
            hub.download(source.hub, "model", commit, files, destination)
        shutil.rmtree(destination / ".cache", ignore_errors=True)  # the client's notes, with times
    elif source.s3:
        s3.download_prefix(source.s3, destination, wanted)
    else:
        copy_folder(Path(source.path), destination, wanted)
    place = source.hub or source.s3 or source.path
    if not any(destination.iterdir()):
        raise HeirloomError(f"source: {place} holds none of {', '.join(patterns)}")
    try:
        check_files(destination)
    except HeirloomError as error:
        raise HeirloomError(f"source: what came from {place} is not whole: {error}") from None


def leads_out(file: Path, folder: Path) -> bool:
    """Say whether a file of a folder is a link to another place; the cache of the Hub links to its own `blobs`."""
    own, there = folder.resolve(), file.resolve()
    return not there.is_relative_to(own) and there.parent != own.parent.parent / "blobs"


def copy_folder(folder: Path, destination: Path, wanted: Callable[[str], bool]) -> None:
    """Copy the files of a local folder whose relative name is `wanted`."""
    if not folder.is_dir():
        raise HeirloomError(f"source.path: there is no folder {folder}")
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and wanted(name):
            if leads_out(file, folder):
                problem = f"source.path: {file} is a link to {file.resolve()}, which is no part of the model"
                raise HeirloomError(f"{problem}: put the file itself there")
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
