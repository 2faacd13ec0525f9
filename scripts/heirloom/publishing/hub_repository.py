"""Push a folder to a repository of the Hugging Face Hub as one commit: a checkpoint with its card, or a form of it.

What was pushed can be fetched again, at exactly that commit. Uploads have their own sentences for what the hub
refuses; what both directions share is `heirloom.hub`.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.artifacts import is_inside
from heirloom.errors import HeirloomError
from heirloom.hub import download, hub_problems, list_files, status
from heirloom.models.model_facts import FACTS

NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
OURS = FACTS
"""In every folder that this project pushes: a repository with it holds nothing but an earlier push."""
THE_HUBS = ".gitattributes"
"""The hub makes it, of its own."""


def push_folder(
    folder: Path, repository: str, message: str, description: str = "", tag: str | None = None, public: bool = False
) -> str:
    """Make a repository hold exactly the files of a folder, and return the commit; the same files make no second one.

    A repository that does not exist is made, private unless `public`; one that does keeps its visibility. What an
    earlier push left and the folder lacks is deleted. `tag` names the commit. The token is that of HF_TOKEN.
    Raises HeirloomError: before anything is sent where the repository holds what no push left there.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    check_pushable(repository)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if OURS not in files:
        raise HeirloomError(f"{folder} has no {OURS}, so it is nothing that this project made: push a checkpoint")
    hub = HfApi()
    with hub_problems(repository), push_problems(repository):
        try:
            info = hub.repo_info(repository)
        except RepositoryNotFoundError:
            hub.create_repo(repository, private=not public)
            info = hub.repo_info(repository)
        there = {entry.rfilename for entry in info.siblings or []} - {THE_HUBS}
        if there and OURS not in there:
            raise HeirloomError(
                f"hub: {repository} holds {sorted(there)[0]} and no {OURS}, so it is not from here: choose another name"
            )
        operations = [CommitOperationAdd(name, folder / name) for name in files]
        operations += [CommitOperationDelete(name) for name in sorted(there - {*files})]
        commit = hub.create_commit(
            repository, operations, commit_message=message, commit_description=description, parent_commit=info.sha
        ).oid
    if tag is not None:
        tag_commit(repository, commit, tag)
    return commit


def check_pushable(repository: str) -> None:
    """Raise HeirloomError where a push could not begin: no name of a repository, or no token."""
    if not NAME.fullmatch(repository):
        raise HeirloomError(f"hub: {repository!r} is no repository: expected owner/name")
    if not os.environ.get("HF_TOKEN"):
        raise HeirloomError("hub: pushing needs a token with write access in the environment variable HF_TOKEN")


def tag_commit(repository: str, commit: str, tag: str) -> None:
    """Let a tag name a commit. Raises HeirloomError where it names another one already."""
    from huggingface_hub import HfApi

    hub = HfApi()
    with hub_problems(repository), push_problems(repository):
        hub.create_tag(repository, tag=tag, revision=commit, exist_ok=True)
        if (tagged := hub.repo_info(repository, revision=tag).sha) != commit:
            raise HeirloomError(
                f"hub: the tag {tag} of {repository} is of commit {tagged[:12]}, and this is {commit[:12]}: give "
                "another version"
            )


def fetch_commit(repository: str, commit: str, folder: Path) -> None:
    """Download all files of a commit into `folder`, but what the hub made of its own. Raises HeirloomError."""
    files = [file for file in list_files(repository, "model", commit) if file.path != THE_HUBS]
    if outside := [file.path for file in files if not is_inside(file.path)]:
        raise HeirloomError(f"hub: {repository} holds a file {outside[0]!r}, whose name is no place in a folder")
    download(repository, "model", commit, files, folder)


@contextmanager
def push_problems(repository: str) -> Iterator[None]:
    """Turn refusals of a push into sentences; all else is what `hub_problems` says of it."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        yield
    except (GatedRepoError, RepositoryNotFoundError):
        raise
    except HfHubHTTPError as error:
        if status(error) == 403:
            raise HeirloomError(
                f"hub: the token in HF_TOKEN may not write to {repository}: take one with write access to it, or "
                "another name"
            ) from None
        if status(error) in (409, 412):
            raise HeirloomError(f"hub: {repository} was changed by somebody else meanwhile: push again") from None
        raise
    except ValueError as error:  # a card or an answer of the store that the client refuses
        raise HeirloomError(f"hub: {repository} did not take the files: {' '.join(str(error).split())}") from None
