"""What origin's branches and tags need of the DVC remote, and what its objects were made as.

Counted is every hash that dvc.lock, a file of `dvc add` (*.dvc) or the history has, in any commit of any branch or tag
of origin and of this clone, and in the working tree. Hashes are looked for as text: a file that nobody can parse hides
none. A commit that is not here could need anything, so it is an error.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from heirloom.errors import HeirloomError
from pipeline.git import git
from pipeline.ledger import History
from pipeline.paths import DVC_LOCK, HISTORY
from pipeline.upkeep import needed_objects

RECORDS = (str(DVC_LOCK), str(HISTORY), "*.dvc")
"""Files in git that record data."""
HASH = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?:\.dir)?(?![0-9a-f])")
IN_LOCK = re.compile(r"- path: (\S+)\n(?:\s+\w+: .*\n)*?\s+md5: ([0-9a-f]{32}(?:\.dir)?)")
HASH_FIRST = re.compile(r'"md5": "([0-9a-f]{32}(?:\.dir)?)"[^{}]*?"path": "([^"]+)"')
PATH_FIRST = re.compile(r'"path": "([^"]+)"[^{}]*?"md5": "([0-9a-f]{32}(?:\.dir)?)"')
SHARED = ("data", "tokenizers", "models")
"""Folders of what belongs to no run."""


def origins_commits() -> list[str]:
    """Return the commits of all branches and tags of origin, asked for now.

    Raises HeirloomError where there is no origin, it has no branch, or one of its commits is not here.
    """
    try:
        lines = git("ls-remote", "--heads", "--tags", "origin").splitlines()
    except HeirloomError as error:
        raise HeirloomError(f"origin does not say what it has, so nothing is known to be spare: {error}") from error
    refs = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
    if not any(name.startswith("refs/heads/") for name in refs):
        raise HeirloomError("origin has no branch, so everything would be spare: `git push origin` first")
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise HeirloomError(
            "this clone is shallow, and does not know what earlier commits need: `git fetch --unshallow`"
        )
    for name, commit in refs.items():
        done = subprocess.run(["git", "cat-file", "-e", commit], capture_output=True, check=False)
        if done.returncode:
            raise HeirloomError(
                f"origin's {name} is not here, so it is not known what it needs: `git fetch --tags origin`"
            )
    return sorted({*refs.values()})


def hashes_needed(commits: Iterable[str]) -> set[str]:
    """Return the hashes that these commits, all before them, this clone's own and the working tree have."""
    found: set[str] = set()
    for content in (*blobs([*commits, "--all"]), *files_here()):
        found |= {match.decode() for match in HASH.findall(content)}
    return found


def names_known(commits: Iterable[str]) -> dict[str, str]:
    """Return hash → the path that it was recorded as; commits that only the reflog knows tell names too."""
    found: dict[str, str] = {}
    for content in (*blobs([*commits, "--all", "--reflog"]), *files_here()):
        text = content.decode(errors="replace")
        found |= {value: path for path, value in IN_LOCK.findall(text)}
        found |= {value: path for path, value in PATH_FIRST.findall(text)} | dict(HASH_FIRST.findall(text))
    return found


def blobs(revisions: list[str]) -> Iterator[bytes]:
    """Yield each content that the files which record data ever had in these commits and those before them."""
    listed = git("rev-list", "--objects", "--full-history", *revisions, "--", *RECORDS).splitlines()
    named = [line.partition(" ") for line in listed]
    wanted = dict.fromkeys(value for value, _, path in named if records_data(path))
    batch = subprocess.run(
        ["git", "cat-file", "--batch"], input="".join(f"{value}\n" for value in wanted).encode(), capture_output=True,
        check=True,
    ).stdout  # fmt: skip
    place = 0
    while place < len(batch):
        end = batch.index(b"\n", place)
        _, kind, size = batch[place:end].split()
        place = end + 1 + int(size) + 1
        if kind == b"blob":
            yield batch[end + 1 : place - 1]


def files_here() -> Iterator[bytes]:
    """Yield the content of the files in the working tree that record data."""
    for top, folders, names in os.walk("."):
        folders[:] = [name for name in folders if name not in needed_objects.NOT_LOOKED_INTO]
        yield from (Path(top, name).read_bytes() for name in names if records_data(name))
    if HISTORY.is_file():
        yield HISTORY.read_bytes()


def records_data(path: str) -> bool:
    """Tell whether a file of this path records data."""
    name = os.path.basename(path)
    return name == HISTORY.name or needed_objects.records_data(name)


def run_of(path: str) -> str:
    """Return the run that an artifact belongs to, by its path; of what belongs to none the path."""
    place = PurePosixPath(path)
    return path if place.parts[0] in SHARED or len(place.parts) < 2 else place.stem


def stages_by_identity() -> dict[str, str]:
    """Return identity → stage, of all executions that the history here knows."""
    return {identity: row["stage"] for identity, row in History().rows.items()}
