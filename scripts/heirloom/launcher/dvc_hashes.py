"""What DVC would record of a file or a folder, without DVC: md5 of the bytes, or of a folder's listing.

The launcher and the ledger both need it, and importing DVC costs more than most stages.
"""

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

FILES_AT_A_TIME = 8
"""Hashing lets go of Python's lock, so threads run side by side."""
IGNORED = ("__pycache__", ".snakemake_timestamp", "*.partial")
"""Names that are never part of an artifact: what `.dvcignore` of this repository lists."""
_IGNORED = re.compile("|".join(map(fnmatch.translate, IGNORED)))


def out_record(path: str) -> dict | None:
    """Return what dvc.lock records of a product: path, hash and sizes; None when it is not there or is unreadable."""
    try:
        if not os.path.isdir(path):
            info = os.stat(path)
            executable = {"isexec": True} if info.st_mode & 0o111 else {}
            return {"path": path, "hash": "md5", "md5": file_hash(path), "size": info.st_size, **executable}
        found = sorted(files_below(path, path), key=itemgetter(0))  # as texts: "a-b" stands before "a/b"
        with ThreadPoolExecutor(FILES_AT_A_TIME) as threads:
            hashes = list(threads.map(file_hash, (os.path.join(path, name) for name, _ in found)))
    except OSError:
        return None
    rows = [
        {"md5": value, "relpath": name.replace(os.sep, "/")} for value, (name, _) in zip(hashes, found, strict=True)
    ]
    value = hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"
    size = sum(info.st_size for _, info in found)
    return {"path": path, "hash": "md5", "md5": value, "size": size, "nfiles": len(rows)}


def file_hash(path: str) -> str:
    """Return the md5 of a file's bytes. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def stamp(info: os.stat_result) -> str:
    """Return a short text that changes when a file is edited or replaced."""
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ino}"


def stat_signature(path: str) -> str | None:
    """Return a short text that changes when any file below the path is replaced, edited, added or removed.

    None when there is nothing. Raises OSError for what cannot be looked at: a link that leads nowhere or to itself.
    """
    try:
        info = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise
        return None
    if not os.path.isdir(path):
        return stamp(info)
    rows = sorted(f"{name} {stamp(info)}" for name, info in files_below(path, path))
    return hashlib.md5("\n".join(rows).encode()).hexdigest()


def files_below(folder: str, top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path relative to `top`, stat) of every file that DVC would track below a folder.

    Raises OSError for a folder that cannot be read and for a link that leads nowhere or in a circle.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if _IGNORED.fullmatch(entry.name):
                continue
            if entry.is_dir():
                yield from files_below(entry.path, top)
            else:
                yield os.path.relpath(entry.path, top), entry.stat()
