"""Content hashes of files and folders, as DVC computes them, looked up by stat.

A path whose files all keep size, inode and modification time keeps its remembered hash; anything else is hashed
again by DVC. So time alone never makes a stage stale, and an edit in place is seen.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from pipeline.paths import CACHE
from pipeline.remembering import recall, remember, stamp

_VERSION = 1
_FILE = CACHE / "fingerprints.pickle"


class Fingerprints:
    """The remembered hashes of this working tree. Use as `with Fingerprints() as fingerprints:`."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = recall(_FILE, _VERSION)
        self._fresh: dict[str, str | None] = {}
        self._before = dict(self._known)

    def __enter__(self) -> "Fingerprints":
        return self

    def __exit__(self, *_) -> None:
        self.save()

    def save(self) -> None:
        """Write what was learnt."""
        if self._known != self._before:
            remember(_FILE, _VERSION, self._known)

    def of(self, path: str) -> str | None:
        """Return DVC's hash of a path (folders end in `.dir`); None when there is nothing."""
        if path not in self._fresh:
            self._fresh[path] = self._look(path)
        return self._fresh[path]

    def _look(self, path: str) -> str | None:
        signature = stat_signature(path)
        if signature is None:
            return None
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, content_hash(path))
        return known[1]

    def learn(self, path: str, value: str) -> None:
        """Remember a hash that DVC has just computed for the path as it lies there now."""
        signature = stat_signature(path)
        if signature is not None:
            self._known[path] = (signature, value)
            self._fresh[path] = value


def stat_signature(path: str) -> str | None:
    """Return a short text that changes when any file below the path is replaced, edited, added or removed."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    if not os.path.isdir(path):
        return stamp(info)
    rows = sorted(f"{name} {stamp(info)}" for name, info in files_below(path, path))
    return hashlib.md5("\n".join(rows).encode()).hexdigest()


def files_below(folder: str, top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path relative to `top`, stat) of every file that DVC would track below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from files_below(entry.path, top)
            else:
                yield os.path.relpath(entry.path, top), entry.stat()


def content_hash(path: str) -> str:
    """Return the hash that DVC records for a path: md5 of the bytes, or of the listing for a folder."""
    if not os.path.isdir(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    return dvc_folder_hash(path)


def dvc_folder_hash(path: str) -> str:
    """Hash a folder through DVC, with DVC's own memory of single files, so that large ones are read once."""
    from dvc.repo import Repo
    from dvc_data.hashfile.build import build

    with Repo() as repo:
        odb = repo.cache.local
        _, _, obj = build(odb, str(Path(path).resolve()), repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)
        return obj.hash_info.value


def bytes_hash(path: str) -> str | None:
    """Hash a file or a folder byte by byte, as DVC would if it remembered nothing; None when there is nothing."""
    if not os.path.exists(path):
        return None
    if not os.path.isdir(path):
        return content_hash(path)
    rows = [
        {"md5": content_hash(os.path.join(path, name)), "relpath": Path(name).as_posix()}
        for name, _ in files_below(path, path)
    ]
    rows.sort(key=itemgetter("relpath"))  # as texts: "a-b" stands before "a/b"
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"
