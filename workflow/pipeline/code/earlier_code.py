"""The code that made an earlier result, found in git by its digests."""

import functools
import subprocess
from collections.abc import Iterable

from heirloom.errors import HeirloomError
from pipeline.code.listings import kept_listing
from pipeline.code.syntax import syntax_digest
from pipeline.git import git

MOST_COMMITS = 60
"""So many commits that touch code are looked through."""


def earlier_code(value: str, likely: Iterable[str]) -> tuple[str, dict[str, bytes]] | None:
    """Return (commit, path → text of each module) of the listing with a hash; None when no commit has it.

    `likely` are commits to look at first, such as those that executions noted. Raises HeirloomError when the listing
    itself is not known here.
    """
    modules = kept_listing(value)
    if modules is None:
        raise HeirloomError("which modules its code had is not in DVC's cache here: `dvc pull` before the upgrade")
    recent = git("log", f"--max-count={MOST_COMMITS}", "--format=%H", "--all", "--", "scripts").split()
    for commit in dict.fromkeys([*likely, *recent]):
        blobs = blobs_of(commit)
        if all(path in blobs and digest_of(blobs[path]) == digest for path, digest in modules.items()):
            return commit, {path: content_of(blobs[path]) for path in modules}
    return None


@functools.cache
def blobs_of(commit: str) -> dict[str, str]:
    """Return path → blob of the modules of a commit; nothing when git does not know it."""
    words = ["git", "ls-tree", "-r", "-z", commit, "--", "scripts"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    rows = (row.partition("\t") for row in done.stdout.split("\0") if row)
    return {path: facts.split()[2] for facts, _, path in rows if path.endswith(".py")}


@functools.cache
def content_of(blob: str) -> bytes:
    """Return what a blob holds."""
    return subprocess.run(["git", "cat-file", "blob", blob], capture_output=True, check=True).stdout


@functools.cache
def digest_of(blob: str) -> str:
    """Return the digest of a module's syntax."""
    return syntax_digest(content_of(blob))
