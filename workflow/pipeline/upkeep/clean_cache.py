"""`make clean-cache`: what DVC's cache holds and nothing that is recorded needs."""

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from heirloom.errors import HeirloomError
from pipeline.dvc_project import cache_folder
from pipeline.ledger import History, dvc_lock
from pipeline.upkeep.needed_objects import Needed

TRASH = "trash"
"""Folder of the cache for what was taken out of it."""


def clean_cache(yes: bool, clones: Sequence[Path] | None = None) -> None:
    """List the objects that nothing recorded needs (see `needed_objects`); move them to the trash when told.

    `clones` names all other clones that use this cache; it must be given, if only empty, for a cache outside `.dvc/`.
    Results of the history that no branch records any more are among the objects: returning to such a config trains
    again. DVC's lock is held throughout, so that no stage records its result meanwhile. Raises HeirloomError.
    """
    cache = cache_folder()
    if clones is None and not cache.resolve().is_relative_to(Path(".dvc").resolve()):
        raise HeirloomError(
            f"the cache is {cache}, outside this clone, so other clones may need what it holds and nothing is deleted: "
            'name all of them, make clean-cache CLONES="/path/one /path/two", or CLONES=none'
        )
    with dvc_lock():
        needed = Needed(cache / "files" / "md5")
        for folder in (Path(), *(clones or ())):
            needed.add_clone(folder)
        list_and_move(yes, cache, needed.objects)


def list_and_move(yes: bool, cache: Path, needed: set[str]) -> None:
    """List the spare objects, each with the artifact that it is or belongs to where that is known; ask, and move."""
    objects = cache / "files" / "md5"
    spare = [file for file in sorted(objects.glob("??/*")) if file.parent.name + file.name not in needed]
    names = {out["md5"]: out["path"] for row in History().rows.values() for out in row["outs"]}
    size = sum(file.stat().st_size for file in spare)
    for file in spare:
        value = file.parent.name + file.name
        print(f"{file.stat().st_size:>14,}  {value}  {names.get(value, '')}".rstrip())
    print(f"{len(spare)} objects, {size:,} bytes, needed by no entry of the working tree, any branch or any tag")
    trash = cache / TRASH
    if spare and (yes or agreed(f"Move them to {trash}?")):
        place = trash / time.strftime("%Y-%m-%dT%H-%M-%S")
        for file in spare:
            target = place / file.relative_to(cache)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
        print(f"moved to {place}: `make empty-trash` frees the space; `cp -rn {place}/. {cache}` brings them back")


def empty_trash(yes: bool) -> None:
    """Delete what `clean_cache` has moved to the trash, when told."""
    trash = cache_folder() / TRASH
    files = [file for file in trash.rglob("*") if file.is_file()]
    print(f"{trash}: {len(files)} objects, {sum(file.stat().st_size for file in files):,} bytes")
    if files and (yes or agreed("Delete them for good?")):
        shutil.rmtree(trash)
        print("deleted")


def agreed(question: str) -> bool:
    """Ask the person at the terminal; without one the answer is no."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
