"""From an artifact to the commits that recorded it: a model card is part of its artifact and cannot say."""

import hashlib
import subprocess
from pathlib import Path
from typing import NamedTuple

from heirloom.errors import HeirloomError, plain
from pipeline.git import git
from pipeline.ledger import content_hash
from pipeline.paths import DVC_LOCK, HISTORY


def commits_that_recorded(path: Path) -> list[str]:
    """Return the commits of all branches that brought the content of a file or folder into the ledger, oldest first.

    Each is a line: short hash, date, subject. `path` may lie anywhere: its content counts, not its place.
    Raises HeirloomError when there is nothing at `path`.
    """
    if not path.exists():
        raise HeirloomError(f"{path}: there is no such file or folder: name an artifact")
    return commits_with_hash(content_hash(str(path)))


def commits_with_hash(value: str) -> list[str]:
    """Return the commits of all branches that brought a DVC hash into the ledger, oldest first, a line each."""
    found = []
    words = ("log", "--all", "--reverse", "--format=%H %as %s", "-S", value, "--", str(DVC_LOCK), str(HISTORY))
    for line in git(*words).splitlines():
        commit, _, rest = line.partition(" ")
        if any(value in text for text in added_lines(commit)):  # -S tells of removals too
            found.append(f"{commit[:12]}  {plain(rest)}")
    return found


def added_lines(commit: str) -> list[str]:
    """Return the lines that a commit added to the ledger."""
    changes = git("show", "--format=", "--unified=0", commit, "--", str(DVC_LOCK), str(HISTORY))
    return [line for line in changes.splitlines() if line.startswith("+")]


class CommittedFile(NamedTuple):
    """A file's content, and a commit that has it."""

    commit: str
    content: bytes


def committed_file(path: str, md5: str) -> CommittedFile | None:
    """Return the first commit that brought this content to `path`; None when git never had it."""
    for commit in git("log", "--all", "--reverse", "--diff-filter=AM", "--format=%H", "--", path).splitlines():
        done = subprocess.run(["git", "show", f"{commit}:./{path}"], capture_output=True, check=False)
        if done.returncode == 0 and hashlib.md5(done.stdout).hexdigest() == md5:
            return CommittedFile(commit, done.stdout)
    return None
