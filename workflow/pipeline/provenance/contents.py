"""Recorded content, wherever it lies on this machine: the working tree, DVC's cache, git. Nothing is fetched."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.dvc_project import cache_folder
from pipeline.folder_objects import object_path, read_list
from pipeline.ledger import Fingerprints, cached
from pipeline.provenance.origin import committed_file


class Contents:
    """Looks recorded files up by path and DVC hash; use as a context manager, so that what it hashed is remembered."""

    def __init__(self) -> None:
        self._cache = cache_folder() / "files" / "md5"
        self._fingerprints = Fingerprints()
        self._listings: dict[str, list[str]] = {}

    def __enter__(self) -> "Contents":
        return self

    def __exit__(self, *_) -> None:
        self._fingerprints.save()

    def here(self, path: str, md5: str) -> bool:
        """Tell whether the working tree has this content at this path."""
        return self._fingerprints.of(path) == md5

    def place(self, path: str, md5: str) -> str:
        """Say where the content is: "here", "in the cache", "in git" or "not here"."""
        if self.here(path, md5):
            return "here"
        if cached(md5, self._cache, self._listings):
            return "in the cache"
        return "in git" if committed_file(path, md5) else "not here"

    def files(self, path: str, md5: str) -> dict[str, str | None]:
        """Return the files of a recorded folder, as relative name → MD5 where known; none when nothing tells them."""
        listing = object_path(md5, self._cache)
        if listing.exists():
            return read_list(md5, self._cache)
        found = [file for file in Path(path).rglob("*") if file.is_file()] if self.here(path, md5) else []
        return {file.relative_to(path).as_posix(): None for file in found}

    @contextmanager
    def opened(self, path: str, md5: str, inner: str | None = None) -> Iterator[Path | None]:
        """Give a file with the recorded content and its own name; None when it is not on this machine.

        `inner`: the file's name within `path`, when that is a folder.
        """
        if self.here(path, md5):
            file = Path(path, inner) if inner else Path(path)
            yield file if file.is_file() else None
            return
        with tempfile.TemporaryDirectory() as folder:  # readers go by the name's suffix, and objects have none
            file = Path(folder, Path(inner or path).name)
            md5 = self.files(path, md5).get(inner) if inner else md5
            stored = object_path(md5, self._cache) if md5 else None
            if stored is not None and stored.is_file():
                file.symlink_to(stored.absolute())
            elif not inner and (committed := committed_file(path, md5)):
                file.write_bytes(committed.content)
            yield file if file.exists() else None
