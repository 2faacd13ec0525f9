"""Content hashes of files and folders, as DVC computes them, looked up by stat.

A path whose files all keep size, inode and modification time keeps its remembered hash; anything else is hashed
again by DVC. So time alone never makes a stage stale, and an edit in place is seen.
"""

import os
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.launcher.dvc_hashes import file_hash, files_below, out_record, stat_signature
from pipeline.code import code_hash
from pipeline.dvc_project import dvc_repository, sentence
from pipeline.graph import program_of
from pipeline.paths import CACHE
from pipeline.remembering import recall, remember

_VERSION = 1
_FILE = CACHE / "fingerprints.json"
UNREADABLE = "unreadable"
"""Stands for the hash of what cannot be read: it is no hash, so it is equal to none that is recorded."""


class Fingerprints:
    """The remembered hashes of this working tree. Use as `with Fingerprints() as fingerprints:`."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = recall(_FILE, _VERSION)
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
        """Return DVC's hash of a path (folders end in `.dir`); None when there is nothing, UNREADABLE when it is odd.

        Odd is a link that leads nowhere or in a circle, or what may not be read. The file of a program's digests has
        the hash that its code gives it now, whatever lies there.
        """
        if path not in self._fresh:
            program = program_of(path)
            self._fresh[path] = code_hash(program) if program else self._look(path)
        return self._fresh[path]

    def _look(self, path: str) -> str | None:
        try:
            signature = stat_signature(path)
            if signature is None:
                return None
            known = self._known.get(path)
            if known is None or known[0] != signature:
                known = self._known[path] = [signature, content_hash(path)]
        except OSError:
            return UNREADABLE
        return known[1]

    def learn(self, path: str, value: str) -> None:
        """Remember a hash that DVC has just computed for the path as it lies there now."""
        try:
            signature = stat_signature(path)
        except OSError:
            return
        if signature is not None:
            self._known[path] = [signature, value]
            self._fresh[path] = value


def content_hash(path: str) -> str:
    """Return the hash that DVC records for a path: md5 of the bytes, or of the listing for a folder."""
    return dvc_folder_hash(path) if os.path.isdir(path) else file_hash(path)


def dvc_folder_hash(path: str) -> str:
    """Hash a folder through DVC, with DVC's own memory of single files, so that large ones are read once."""
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.build import build

    with dvc_repository(wait=False) as repo:
        odb = repo.cache.local
        try:
            _, meta, obj = build(odb, str(Path(path).resolve()), repo.fs, "md5", ignore=repo.dvcignore, dry_run=True)
        except DvcException as error:
            raise HeirloomError(
                f"{path}: DVC cannot hash it: {sentence(error)} (.dvcignore may hide no artifact)"
            ) from error
    if not meta.nfiles and next(files_below(path, path), None) is not None:
        raise HeirloomError(f"{path}: .dvcignore hides all of its files, so DVC could not keep it: take the line out")
    return obj.hash_info.value


def bytes_hash(path: str) -> str | None:
    """Hash a file or a folder byte by byte, as DVC would if it remembered nothing; None when there is nothing.

    What cannot be read has the hash UNREADABLE, which nothing else has.
    """
    if not os.path.lexists(path):
        return None
    record = out_record(path)
    return record["md5"] if record else UNREADABLE
