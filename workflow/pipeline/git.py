"""Ask git."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from heirloom.errors import HeirloomError


def git(*words: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what a git command prints; without an environment in this process's own.

    Raises HeirloomError with git's own words when it fails.
    """
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise HeirloomError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def environment_elsewhere() -> dict[str, str]:
    """Return this process's environment without what ties git to one repository, for commands in another one.

    A hook of git's has GIT_INDEX_FILE, and in a linked worktree GIT_DIR: a checkout elsewhere would write that index.
    """
    tied = git("rev-parse", "--local-env-vars").split()
    return {name: value for name, value in os.environ.items() if name not in tied}


def place_in_repository(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the repository's folder, and this project's below it: empty, or as git writes it, with a slash at its end.

    `environment` is one without what ties git to another repository. Raises HeirloomError with git's own words.
    """
    words = ("--show-toplevel", "--show-prefix")
    top, below = (git("rev-parse", word, environment=environment).removesuffix("\n") for word in words)
    return top, below


def clone_of(commit: str, folder: Path) -> Path:
    """Clone this repository at a commit to `folder`, and return this project's folder in it.

    The project may be a folder of a larger repository, and then it need not be there at that commit. The objects are
    read where they are. Raises HeirloomError with git's own words.
    """
    elsewhere = environment_elsewhere()
    top, below = place_in_repository(elsewhere)
    git("clone", "--quiet", "--shared", "--no-checkout", top, str(folder), environment=elsewhere)
    git("-C", str(folder), "checkout", "--quiet", "--detach", commit, environment=elsewhere)
    return folder / below
