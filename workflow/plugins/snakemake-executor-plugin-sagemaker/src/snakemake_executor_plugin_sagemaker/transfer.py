"""Files and folders below one root, carried through an ObjectStore as a list of entries.

An entry is {"path", "sha256", "executable"} for a file and {"path", "directory": true} for an empty folder; paths are
relative, with forward slashes.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .objects import ObjectStore
from .secrets import LeakGuard

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROTECTED = {".git", ".snakemake"}  # what comes back may replace results, never hooks or Snakemake's own state


class UnsafePathError(Exception):
    """A path that may not be carried."""


def are_entries(value: object) -> bool:
    """Say whether VALUE has the form of a list of entries."""
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("path"), str)
        and (entry.get("directory") is True or bool(_SHA256.fullmatch(str(entry.get("sha256")))))
        for entry in value
    )


def relative_path(path: str, root: Path) -> str:
    """Return PATH relative to ROOT, with forward slashes. Raises UnsafePathError when it lies outside."""
    absolute = Path(root, path).absolute()
    normal = Path(*(part for part in absolute.parts if part != "."))
    if ".." in normal.parts:
        normal = Path(normal.anchor, *_without_parents(normal.parts[1:]))
    try:
        return normal.relative_to(root.absolute()).as_posix()
    except ValueError:
        raise UnsafePathError(
            f"{path} lies outside the working directory {root}; only files below it can be carried to a job"
        ) from None


def _without_parents(parts: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for part in parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
    return kept


def files_below(path: Path) -> list[Path]:
    """Return PATH itself when it is a file, else all files and empty folders below it, sorted."""
    if not path.is_dir():
        return [path]
    found = [entry for entry in path.rglob("*") if not entry.is_dir() or not any(entry.iterdir())]
    return sorted(found) or [path]


def send(paths: Iterable[str], root: Path, store: ObjectStore, guard: LeakGuard, where: str) -> list[dict]:
    """Store files and folders and return their entries, sorted; a path that does not exist is left out.

    GUARD looks into every file first and raises PlainTextSecretError, which names the file behind WHERE.
    """
    entries = {}
    for given in paths:
        top = Path(root, given)
        if not top.exists():
            continue
        for path in files_below(top):
            name = relative_path(str(path), root)
            if path.is_dir():
                entries[name] = {"path": name, "directory": True}
                continue
            guard.check_file(path, f"{where} {name}")
            executable = bool(path.stat().st_mode & 0o100)
            entries[name] = {"path": name, "sha256": store.put_file(path), "executable": executable}
    return [entries[name] for name in sorted(entries)]


def _names_a_file(path: str) -> bool:
    """Say whether a file system takes PATH as a name."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def receive(entries: Iterable[dict], root: Path, store: ObjectStore, allowed: Iterable[str] | None = None) -> list[str]:
    """Write entries below ROOT and return their paths.

    Raises UnsafePathError, before anything is written, for a path outside ROOT, inside .git or .snakemake, or that is
    neither one of ALLOWED nor below one.
    """
    entries, received = list(entries), []
    places = None if allowed is None else {PurePosixPath(path) for path in allowed}
    for entry in entries:
        pure = PurePosixPath(entry["path"])
        own = {part.casefold() for part in pure.parts}  # .GIT is .git on some file systems
        outside = not own or pure.is_absolute() or ".." in own
        if outside or _PROTECTED & own or not _names_a_file(entry["path"]):
            raise UnsafePathError(f"a job returned {entry['path']!r}, which may not be written here")
        if places is not None and not places & {pure, *pure.parents}:
            raise UnsafePathError(
                f"a job returned {entry['path']!r}, which is no output or log of its rule; if it should, name it in "
                "the resource return_files"
            )
    for entry in entries:
        target = root.joinpath(*PurePosixPath(entry["path"]).parts)
        if entry.get("directory"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            store.get_file(entry["sha256"], target)
            if entry.get("executable"):
                usual = target.stat().st_mode
                target.chmod(usual | (usual & 0o444) >> 2)  # for whoever may read it
        received.append(entry["path"])
    return received
