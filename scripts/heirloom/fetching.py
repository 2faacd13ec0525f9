"""Bring a pre-trained model or its tokenizer here: from the Hugging Face Hub, S3 or a local folder."""

import fnmatch
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from heirloom.config.source import ModelSource
from heirloom.errors import HeirloomError

TOKENIZER_FILES = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "additional_chat_templates/*"),
    *("vocab.*", "merges.txt", "spiece.model", "sentencepiece*.model"),
    "config.json",  # names the model type, from which transformers chooses the class of an old tokenizer
)
MODEL_FILES = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")


def fetch(source: ModelSource, destination: Path, patterns: Iterable[str]) -> None:
    """Write the source's files that match `patterns` to the folder `destination`, which is made.

    Raises HeirloomError when the place cannot be read or holds none of them.
    """
    patterns = tuple(patterns)
    destination.mkdir(parents=True, exist_ok=True)
    if source.hub:
        fetch_from_hub(source, destination, patterns)
    elif source.s3:
        fetch_from_s3(source.s3, destination, patterns)
    else:
        fetch_from_folder(Path(source.path), destination, patterns)
    if not any(destination.iterdir()):
        place = source.hub or source.s3 or source.path
        raise HeirloomError(f"source: {place} holds none of {', '.join(patterns)}")


def fetch_from_hub(source: ModelSource, destination: Path, patterns: tuple[str, ...]) -> None:
    """Download one revision of a hub repository; the token is the one of HF_TOKEN or `hf auth login`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if not source.pinned:
        print(
            f"warning: source.hub {source.hub} is not pinned: give `revision:`, 40 hex digits, or it may change",
            file=sys.stderr,
        )
    try:
        snapshot_download(source.hub, revision=source.revision, allow_patterns=list(patterns), local_dir=destination)
    except GatedRepoError:  # a subclass of RepositoryNotFoundError
        raise HeirloomError(
            f"source.hub: {source.hub} is gated: ask for access on its page, then give your token in HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise HeirloomError(
            f"source.hub: there is no {source.hub}, or it is private: check the name, or give a token in HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise HeirloomError(f"source.revision: {source.hub} has no revision {source.revision}") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise HeirloomError(f"source.hub: {source.hub} could not be downloaded: {error}") from None
    shutil.rmtree(destination / ".cache", ignore_errors=True)  # the client's notes, with times


def fetch_from_s3(prefix: str, destination: Path, patterns: tuple[str, ...]) -> None:
    """Download the objects under an S3 prefix with the credentials that boto finds."""
    import s3fs

    store = s3fs.S3FileSystem()
    root = prefix.removeprefix("s3://").rstrip("/")
    try:
        found = store.find(root)
    except (FileNotFoundError, PermissionError, OSError) as error:
        raise HeirloomError(f"source.s3: {prefix} could not be listed: {error}") from None
    for key in found:
        name = key.removeprefix(f"{root}/")
        if matches(name, patterns):
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(key, str(target))


def fetch_from_folder(folder: Path, destination: Path, patterns: tuple[str, ...]) -> None:
    """Copy a local folder's files."""
    if not folder.is_dir():
        raise HeirloomError(f"source.path: there is no folder {folder}")
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and matches(name, patterns):
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
