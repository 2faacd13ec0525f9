"""`make verify`: hash everything that dvc.lock records, without any memory of earlier hashes."""

from collections.abc import Iterator

from heirloom.errors import plain
from pipeline.dvc_project import cache_folder
from pipeline.folder_objects import DamagedListError, object_path, read_list
from pipeline.graph import load_graph
from pipeline.ledger import Entry, bytes_hash, content_hash, read_lock


def verify() -> int:
    """Print every artifact and cached object whose bytes are not what dvc.lock records; return 1 if there is one."""
    _, graph = load_graph()
    entries = {name: entry for name, entry in read_lock().items() if name in graph.stages}
    found = [f"{name}: {text}" for name, entry in entries.items() for text in map(plain, wrong_in_entry(entry))]
    print(*found, sep="\n", end="\n" if found else "")
    products = sum(len(entry.get("outs", [])) for entry in entries.values())
    print(f"{products} artifacts of {len(entries)} stages hashed: {len(found)} wrong")
    if found:
        print("`snakemake` restores what was edited or lost; delete a damaged object and `make pull` gets it again")
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


def wrong_in_cache(path: str, value: str) -> Iterator[str]:
    """Yield the damaged objects of one artifact in DVC's cache; one that is missing is named as such."""
    cache = cache_folder() / "files" / "md5"
    listing = object_path(value, cache)
    values = [value.removesuffix(".dir")]
    if not listing.exists():
        yield f"{path} is not in the cache"
        return
    if value.endswith(".dir"):
        try:
            values += read_list(value, cache).values()
        except OSError:
            pass  # the list itself is told of below
        except DamagedListError as error:
            yield f"{path}: {error}"
            return
    for number, child in enumerate(values):
        file = listing if number == 0 else object_path(child, cache)
        if not file.exists():
            yield f"{path}: object {child} is not in the cache"
        elif content_hash(str(file)) != child:
            yield f"{path}: object {child} in the cache is damaged"
