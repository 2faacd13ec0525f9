"""Which objects of DVC's cache are needed: everything that is recorded anywhere in a clone, or could be checked out.

Counted are dvc.lock and the files of `dvc add` (*.dvc) in the working tree, in the index, in every branch, tag, stash
and experiment, at HEAD even where it is detached, in every other work tree, and in commits that only the reflog knows.
A list that may be incomplete is worse than none, so whatever cannot be read is an error.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from heirloom.errors import HeirloomError
from pipeline.folder_objects import DamagedListError, object_path, read_list
from pipeline.graph import CODE_FOLDER

NOT_LOOKED_INTO = {".git", ".dvc", ".heirloom", ".snakemake"}


class Needed:
    """Collects the names of needed objects; `cache` is where DVC 3 keeps them."""

    def __init__(self, cache: Path) -> None:
        self.objects: set[str] = set()
        self._cache = cache
        self._seen: set[str] = set()

    def add_clone(self, folder: Path) -> None:
        """Count all that a clone records. Raises HeirloomError when something of it cannot be read."""
        if not (folder / ".dvc").is_dir():
            raise HeirloomError(f"{folder}: there is no clone of a DVC project, so nothing is deleted: name its folder")
        below = git(folder, "rev-parse", "--show-prefix").strip()
        trees = [line.removeprefix("worktree ") for line in git(folder, "worktree", "list", "--porcelain").splitlines()
                 if line.startswith("worktree ")]  # fmt: skip
        for tree in {folder.resolve(), *(Path(tree) / below for tree in trees)}:
            if tree.is_dir():
                self._add_files(tree)
                self._add_text(
                    git(tree, "ls-files", "--stage", "-z", "--", "dvc.lock", "*.dvc"), tree, f"{tree}, index"
                )
        for commit in sorted(commits_of(folder)):
            listed = git(folder, "ls-tree", "-r", "-z", commit, "--", "./")
            self._add_text(listed, folder, commit)

    def _add_files(self, tree: Path) -> None:
        for top, folders, names in os.walk(tree, onerror=unreadable):
            folders[:] = [name for name in folders if name not in NOT_LOOKED_INTO]
            for name in names:
                if records_data(name):
                    file = Path(top, name)
                    try:
                        self._count(file.read_bytes(), str(file))
                    except OSError as error:
                        unreadable(error)

    def _add_text(self, listed: str, folder: Path, where: str) -> None:
        """Count what git's listing (`MODE … HASH… \\t PATH`, null-terminated) has of files that record data."""
        for row in filter(None, listed.split("\0")):
            facts, _, path = row.partition("\t")
            if records_data(os.path.basename(path)):
                blob = next(word for word in facts.split() if len(word) >= 40)
                if blob not in self._seen:
                    self._seen.add(blob)
                    self._count(git(folder, "cat-file", "blob", blob).encode(), f"{path} of {where}")

    def _count(self, content: bytes, where: str) -> None:
        try:
            recorded = YAML(typ="safe").load(content.decode()) or {}
            stages = recorded.get("stages") or {} if "stages" in recorded or "schema" in recorded else {where: recorded}
            outs = [out for entry in stages.values() for out in entry.get("outs") or []]
            deps = [dep for entry in stages.values() for dep in entry.get("deps") or []]
            outs += [dep for dep in deps if str(dep.get("path")).startswith(CODE_FOLDER)]  # which modules changed since
            found = [out["md5"] for out in outs if "md5" in out]
        except (YAMLError, UnicodeDecodeError, AttributeError, TypeError, KeyError) as error:
            raise HeirloomError(
                f"{where} cannot be read ({type(error).__name__}), so it is not known what it needs and nothing is "
                "deleted: mend it or remove it"
            ) from error
        for value in found:
            self.objects.add(value)
            self.objects |= self._inside(value)

    def _inside(self, value: str) -> set[str]:
        """Return what a folder object lists; one that is not here cannot be brought back from here either."""
        listing = object_path(value, self._cache)
        if not value.endswith(".dir") or not listing.exists():
            return set()
        try:
            return set(read_list(value, self._cache).values())
        except (OSError, DamagedListError):
            raise HeirloomError(
                f"{listing} is damaged, so it is not known which objects it needs and nothing is deleted: delete this "
                "one file, and `make pull` gets it again"
            ) from None


def records_data(name: str) -> bool:
    """Tell whether a file of this name records data in the cache."""
    return name == "dvc.lock" or name.endswith(".dvc")


def commits_of(folder: Path) -> set[str]:
    """Return the commits that count: of all refs, of HEAD of every work tree, and those only the reflog leads to."""
    found = set()
    for line in git(
        folder, "for-each-ref", "--format=%(objectname) %(objecttype) %(*objectname) %(*objecttype)"
    ).splitlines():
        words = line.split()
        found |= {name for name, kind in zip(words[::2], words[1::2], strict=True) if kind == "commit"}
    listed = git(folder, "worktree", "list", "--porcelain").splitlines()
    heads = [line.removeprefix("HEAD ") for line in listed if line.startswith("HEAD ")]
    found |= {head for head in heads if set(head) != {"0"}}  # zeros: nothing was committed yet
    logged = git(folder, "reflog", "show", "--all", "--format=%H").split() if found else []
    if logged:
        found |= set(git(folder, "rev-list", "--stdin", "--not", "--all", given=logged).split())
    return found


def git(folder: Path, *words: str, given: Iterable[str] = ()) -> str:
    """Return what a git command prints. Raises HeirloomError: what git cannot list may be needed."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], input="".join(f"{line}\n" for line in given), capture_output=True,
        text=True, errors="surrogateescape", check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise HeirloomError(
            f"git {words[0]} failed in {folder} ({said}), so it is not known what other branches need and nothing is "
            "deleted"
        )
    return done.stdout


def unreadable(error: OSError) -> None:
    """Refuse to go on without what cannot be looked at."""
    raise HeirloomError(
        f"{error.filename} cannot be read ({error.strerror}), so it is not known what is needed and nothing is deleted"
    )
