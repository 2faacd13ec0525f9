"""DVC's cache: what it holds, and what of an entry's data is not where it should be."""

from pathlib import Path

from pipeline.dvc_project import cache_folder
from pipeline.folder_objects import DamagedListError, object_path, read_list
from pipeline.ledger.entries import Entry
from pipeline.ledger.fingerprints import Fingerprints
from pipeline.paths import CACHE
from pipeline.remembering import recall, remember

_VERSION = 1


def absent_data(entry: Entry, fingerprints: Fingerprints, listings: "Listings") -> list[str]:
    """Return what is wrong with an entry's data in the working tree and in DVC's cache, as DVC would see it."""
    found = []
    for out in entry.get("outs", []):
        now = fingerprints.of(out["path"])
        if now is None:
            found.append(f"{out['path']} is not here")
        elif now != out["md5"]:
            found.append(f"{out['path']} was edited")
        elif not listings.cached(out["md5"]):
            found.append(f"{out['path']} is not in the cache")
    return found


def is_near(entry: Entry, fingerprints: Fingerprints, listings: "Listings") -> bool:
    """Tell whether each product of an entry is in the working tree or in the cache, so that no remote is needed."""
    return all(fingerprints.of(out["path"]) == out["md5"] or listings.cached(out["md5"]) for out in entry["outs"])


class Listings:
    """What DVC's cache holds, with the listings of folders remembered."""

    def __init__(self) -> None:
        self._file = CACHE / "listings.json"
        self._known = recall(self._file, _VERSION)
        self._size = len(self._known)
        self._cache = cache_folder() / "files" / "md5"

    def cached(self, value: str) -> bool:
        """Tell whether an object is in the cache, whole."""
        return cached(value, self._cache, self._known)

    def __enter__(self) -> "Listings":
        return self

    def __exit__(self, *_) -> None:
        if len(self._known) != self._size:
            remember(self._file, _VERSION, self._known)


def cached(value: str, cache: Path, listings: dict[str, list[str]]) -> bool:
    """Tell whether DVC's cache folder holds an object and, for a folder, everything in it.

    `listings` remembers what folder objects contain; they never change.
    """
    file = object_path(value, cache)
    if not value.endswith(".dir"):
        return file.exists()
    if value not in listings:
        try:
            listings[value] = list(read_list(value, cache).values())
        except (OSError, DamagedListError):
            return False
    return file.exists() and all(object_path(child, cache).exists() for child in listings[value])
