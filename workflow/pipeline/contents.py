"""Recorded content, wherever it lies on this machine: in the working tree or in DVC's cache. Nothing is fetched."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.fingerprints import Fingerprints, cached, object_path
from pipeline.ledger import cache_folder


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

    def now(self, path: str) -> str | None:
        """Return the DVC hash of what lies at `path` in the working tree; None when there is nothing."""
        return self._fingerprints.of(path)

    def presence(self, path: str, value: str) -> str:
        """Say where the content `value` of `path` is: here, in the cache, edited (another content is here), not here."""
        now = self.now(path)
        if now == value:
            return "here"
        in_cache = cached(value, self._cache, self._listings)
        if now is None:
            return "in the cache" if in_cache else "not here"
        return "edited; the recorded one is in the cache" if in_cache else "edited"

    def names(self, path: str, value: str) -> dict[str, str | None] | None:
        """Return the files of a recorded folder, as relative name → MD5 where known; None when nothing tells them."""
        listing = object_path(value, self._cache)
        if listing.exists():
            return {row["relpath"]: row["md5"] for row in json.loads(listing.read_bytes())}
        if self.now(path) == value:
            files = (file for file in Path(path).rglob("*") if file.is_file())
            return {file.relative_to(path).as_posix(): None for file in files}
        return None

    @contextmanager
    def opened(self, path: str, value: str, inner: str | None = None) -> Iterator[Path | None]:
        """Give a file with the recorded content and its own name; None when it is not on this machine.

        `inner`: the file's name within `path`, when that is a folder.
        """
        if self.now(path) == value:
            file = Path(path, inner) if inner else Path(path)
            yield file if file.is_file() else None
            return
        md5 = (self.names(path, value) or {}).get(inner) if inner else value
        stored = object_path(md5, self._cache) if md5 else None
        if stored is None or not stored.is_file():
            yield None
            return
        with tempfile.TemporaryDirectory() as folder:  # readers go by the name's suffix, and objects have none
            link = Path(folder, Path(inner or path).name)
            link.symlink_to(stored.absolute())
            yield link
