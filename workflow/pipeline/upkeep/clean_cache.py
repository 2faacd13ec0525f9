"""`make clean-cache`: what DVC's cache holds and no entry of any branch needs."""

import json
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.ledger import Entry, cache_folder, dvc_lock, object_path
from pipeline.paths import DVC_LOCK


def clean_cache(yes: bool) -> None:
    """List the objects that no dvc.lock of the working tree, a branch or a tag records; delete them when told.

    Results of the history that no branch records any more are among them: returning to such a config trains again.
    DVC's lock is held throughout, so that no stage records its result meanwhile.
    """
    with dvc_lock():
        list_and_delete(yes)


def list_and_delete(yes: bool) -> None:
    cache = cache_folder() / "files" / "md5"
    needed = {value for entry in entries_of_all_branches() for value in objects_of(entry, cache)}
    spare = [file for file in sorted(cache.glob("??/*")) if file.parent.name + file.name not in needed]
    size = sum(file.stat().st_size for file in spare)
    for file in spare:
        print(f"{file.stat().st_size:>14,}  {file.parent.name}{file.name}")
    print(f"{len(spare)} objects, {size:,} bytes, needed by no entry of the working tree, any branch or any tag")
    if spare and (yes or agreed()):
        for file in spare:
            file.unlink()
        print("deleted")


def agreed() -> bool:
    """Ask the person at the terminal; without one the answer is no."""
    return sys.stdin.isatty() and input("Delete them? [y/N] ").strip().lower() in ("y", "yes")


def entries_of_all_branches() -> list[Entry]:
    """Return the entries of dvc.lock in the working tree, in every branch (also remote ones) and in every tag."""
    texts = [DVC_LOCK.read_text()] if DVC_LOCK.exists() else []
    for name in git("for-each-ref", "--format=%(refname)").split():
        texts.append(git("show", f"{name}:{DVC_LOCK}"))
    parsed = [YAML(typ="safe").load(text) or {} for text in dict.fromkeys(texts) if text]
    return [entry for lock in parsed for entry in (lock.get("stages") or {}).values()]


def git(*words: str) -> str:
    """Return what a git command prints; empty when it fails."""
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def objects_of(entry: Entry, cache: Path) -> set[str]:
    """Return the names of all objects that an entry's products consist of."""
    found = set()
    for out in entry.get("outs", []):
        found.add(out["md5"])
        listing = object_path(out["md5"], cache)
        if out["md5"].endswith(".dir") and listing.exists():
            found |= {row["md5"] for row in json.loads(listing.read_bytes())}
    return found
