"""`make verify`: hash everything that dvc.lock records, without any memory of earlier hashes."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.fingerprints import content_hash, files_below, object_path
from pipeline.ledger import cache_folder, load_graph
from pipeline.lockfile import Entry, read_lock


def verify() -> int:
    """Print every artifact and cached object whose bytes are not what dvc.lock records; return 1 if there is one."""
    _, graph = load_graph()
    entries = {name: entry for name, entry in read_lock().items() if name in graph.stages}
    found = [f"{name}: {text}" for name, entry in entries.items() for text in wrong_in_entry(entry)]
    print(*found, sep="\n", end="\n" if found else "")
    products = sum(len(entry.get("outs", [])) for entry in entries.values())
    print(f"{products} artifacts of {len(entries)} stages hashed: {len(found)} wrong")
    if found:
        print("`snakemake` restores what was edited or lost; delete a damaged object and `dvc fetch` gets it again")
    return 1 if found else 0


def wrong_in_entry(entry: Entry) -> Iterator[str]:
    """Yield what is wrong with the products of one entry: in the working tree and in the cache."""
    for out in entry.get("outs", []):
        path, value = out["path"], out["md5"]
        now = bytes_hash(path)
        if now is None:
            yield f"{path} is not here"
        elif now != value:
            yield f"{path} was edited"
        yield from wrong_in_cache(path, value)


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
    rows.sort(key=lambda row: tuple(row["relpath"].split("/")))
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"


def wrong_in_cache(path: str, value: str) -> Iterator[str]:
    """Yield the damaged objects of one artifact in DVC's cache; one that is missing is named as such."""
    cache = cache_folder() / "files" / "md5"
    listing = object_path(value, cache)
    values = [value.removesuffix(".dir")]
    if not listing.exists():
        yield f"{path} is not in the cache"
        return
    if value.endswith(".dir"):
        values += [row["md5"] for row in json.loads(listing.read_bytes())]
    for number, child in enumerate(values):
        file = listing if number == 0 else object_path(child, cache)
        if not file.exists():
            yield f"{path}: object {child} is not in the cache"
        elif content_hash(str(file)) != child:
            yield f"{path}: object {child} in the cache is damaged"
