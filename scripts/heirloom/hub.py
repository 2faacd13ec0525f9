"""Fetch files of one revision of a Hugging Face Hub repository, and tell in one sentence why that fails.

`datasets.load_dataset(id, revision=…)` is not used: when the hub cannot be reached or refuses, it silently gives
whichever revision is in its cache. Here the revision is resolved to a commit first, exactly the files of that commit
are fetched, and their content is compared with the hashes that the hub has for them.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import NamedTuple

from heirloom.content_hashes import file_hash
from heirloom.errors import HeirloomError

COMMIT = re.compile(r"[0-9a-f]{40}")


class HubFile(NamedTuple):
    """A file of a commit and the hash that the hub has for it: of a large file SHA-256, else git's."""

    path: str
    size: int
    git_sha1: str
    sha256: str | None


@contextmanager
def hub_problems(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turn the hub client's errors into a HeirloomError that says what to do. Tokens are in none of them."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:  # a kind of RepositoryNotFoundError, so it comes first
        refused = "your token has no access yet: ask for it on" if status(error) == 403 else "ask for access on"
        raise HeirloomError(
            f"hub: {repository} is gated: {refused} https://huggingface.co/{repository}, then put your token into the "
            "environment variable HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise HeirloomError(
            f"hub: there is no {repository}, or it is private: check the name, or put a token that may read it into "
            "the environment variable HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise HeirloomError(
            f"hub: {repository} has no revision {revision}: give a commit (all 40 digits), a branch or a tag"
        ) from None
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise unreachable(repository, error) from None
        raise HeirloomError(f"hub: {repository} at {revision} lacks a file that it lists: {error}") from None
    except errors.HfHubHTTPError as error:
        if status(error) == 401:
            raise HeirloomError(
                f"hub: the token was refused while reading {repository}: renew the one in HF_TOKEN, or unset it"
            ) from None
        raise unreachable(repository, error) from None
    except OSError as error:  # no connection, offline mode, disk
        raise unreachable(repository, error) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise
        raise unreachable(repository, error) from None


def status(error: Exception) -> int | None:
    """Return the HTTP status of a hub error."""
    return getattr(getattr(error, "response", None), "status_code", None)


def unreachable(repository: str, error: Exception) -> HeirloomError:
    """Return the error for a hub that gave no answer."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return HeirloomError(f"hub: {repository} could not be fetched: {reason}; try again when the hub can be reached")


def resolve_commit(repository: str, kind: str, revision: str | None) -> str:
    """Return the commit that `revision` of a repository (`kind`: dataset or model) means now.

    Warns on stderr when that can mean another one tomorrow. Raises HeirloomError.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    commit = commit_of(repository, kind, revision)
    print(
        f"warning: hub: {repository} is not pinned{f' ({revision} can move)' if revision else ''}; to get the same "
        f"data for ever write revision: {commit}",
        file=sys.stderr,
    )
    return commit


def commit_of(repository: str, kind: str, revision: str | None) -> str:
    """Return the commit that a branch, a tag or nothing means now. Raises HeirloomError."""
    from huggingface_hub import HfApi

    with hub_problems(repository, revision):
        return HfApi().repo_info(repository, repo_type=kind, revision=revision or None).sha


def list_files(repository: str, kind: str, commit: str) -> list[HubFile]:
    """Return the files of a commit. Raises HeirloomError."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with hub_problems(repository, commit):
        entries = list(HfApi().list_repo_tree(repository, repo_type=kind, revision=commit, recursive=True))
    return [
        HubFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
        for entry in entries
        if isinstance(entry, RepoFile)
    ]


def download(repository: str, kind: str, commit: str, files: Sequence[HubFile], folder: Path) -> None:
    """Download files of a commit into `folder`, under their own names; what is there already is not fetched again.

    Raises HeirloomError, also when the content of one is not what the hub says.
    """
    from huggingface_hub import snapshot_download

    with hub_problems(repository, commit):
        snapshot_download(
            repository,
            repo_type=kind,
            revision=commit,
            allow_patterns=[escape(file.path) for file in files],
            local_dir=folder,
        )
    for file in files:
        path = folder / file.path
        digest = file_hash(path) if file.sha256 else git_sha1_of(path)
        if digest != (file.sha256 or file.git_sha1):
            path.unlink()
            raise HeirloomError(
                f"hub: {file.path} of {repository} arrived damaged (its hash is {digest}, the hub has "
                f"{file.sha256 or file.git_sha1}): run it again"
            )


def git_sha1_of(path: Path) -> str:
    """Return the hash under which git, and so the hub, keeps a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()
