"""The code that made an earlier result, found in git by its digests."""

import functools
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable

from pipeline.code.listings import kept_listing, listing
from pipeline.code.syntax import syntax_digest
from pipeline.git import environment_elsewhere, git, place_in_repository

MOST_COMMITS = 60
"""So many commits that touch code are looked through."""


CLOSURE = """
import sys
sys.path.insert(0, "scripts")
from heirloom.code_closure import PROJECT, code_closure
print(*(path.relative_to(PROJECT) for path in code_closure(PROJECT / sys.argv[1])), sep="\\n")
"""


def earlier_code(program: str, value: str, likely: Iterable[str]) -> tuple[str, dict[str, bytes]] | None:
    """Return (commit, path → text of each module) of a program's listing with a hash; None when no commit has it.

    `likely` are commits to look at first, such as those that executions noted.
    """
    modules = kept_listing(value)
    recent = git("log", f"--max-count={MOST_COMMITS}", "--format=%H", "--all", "--", "scripts").split()
    for commit in dict.fromkeys([*likely, *recent]):
        blobs = blobs_of(commit)
        if modules is None:  # made on another machine
            paths = [path for path in closure_at(commit, program) if path in blobs]
            found = {path: digest_of(blobs[path]) for path in paths}
            if not found or hashlib.md5(listing(found).encode()).hexdigest() != value:
                continue
            modules = found
        if all(path in blobs and digest_of(blobs[path]) == digest for path, digest in modules.items()):
            return commit, {path: content_of(blobs[path]) for path in modules}
    return None


@functools.cache
def closure_at(commit: str, program: str) -> list[str]:
    """Return the paths of a program's modules at a commit, as the project itself tells them there."""
    elsewhere = environment_elsewhere()
    top, below = place_in_repository(elsewhere)
    with tempfile.TemporaryDirectory() as folder:
        there = {**elsewhere, "GIT_INDEX_FILE": f"{folder}/index"}
        for words in (
            ["read-tree", "--prefix=scripts/", f"{commit}:{below}scripts"],
            ["checkout-index", "--all", f"--prefix={folder}/"],
        ):
            if subprocess.run(["git", *words], cwd=top, env=there, capture_output=True, check=False).returncode:
                return []
        told = [sys.executable, "-c", CLOSURE, program]
        return subprocess.run(told, cwd=folder, capture_output=True, text=True, check=False).stdout.splitlines()


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
