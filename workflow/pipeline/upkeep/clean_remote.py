"""`make clean-remote`: what the DVC remote and the jobs' prefix on S3 hold and no branch or tag of origin needs."""

import hashlib
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.config.parsing.reading import read_yaml
from heirloom.errors import HeirloomError
from heirloom.estimates.overheads import GIB
from heirloom.estimates.prices import read_prices
from heirloom.s3 import SCHEME, file_system, s3_problems
from pipeline.dvc_project import cache_folder, dvc_repository, sentence
from pipeline.folder_objects import DamagedListError, bring_list, is_hash, object_path, read_list
from pipeline.ledger import dvc_lock
from pipeline.upkeep.origins_needs import hashes_needed, names_known, origins_commits, run_of, stages_by_identity

OLD = 30 * 24 * 3600.0
"""Seconds since an object was written. What is younger may be of a job, or of a branch that is not pushed yet."""
AT_ONCE = 500
"""Objects of one request to delete; S3 takes 1000."""
PROFILE = Path("workflow/profiles/sagemaker/config.yaml")
JOBS_FILES = "jobs' own files"
STRANGE = "of no run that is known here"
"""What no commit here ever named: an experiment of a colleague, or another project's that has the same remote."""
RESULT = re.compile(
    r"(?:pack|reference|train|generate|baseline|scores|evaluate|harness|gate|report)-(.+?)-[0-9a-f]{8}-"
)
"""The name of a job of a run: rule, run, hash of the prefix, and more."""


@dataclass(frozen=True)
class Spare:
    """An object that nothing of origin needs."""

    path: str
    """As its file system names it."""
    size: int
    written: float
    """Seconds since 1970."""
    owner: str
    """The run, or what else it belongs to."""
    is_list: bool = False
    """It lists a folder's files: it must go before them."""


Delete = Callable[[list[str]], None]


def clean_remote(yes: bool, strange: bool = False) -> None:
    """List the spare objects by run, and with `yes` delete those that were written more than OLD ago.

    Of the DVC remote's STRANGE objects only with `strange`.

    No moment in which this process is killed leaves a list of files without its files: lists go first. DVC's lock is
    held throughout. Raises HeirloomError where it is not certain what is needed.
    """
    with dvc_lock():
        commits = origins_commits()
        needed = hashes_needed(commits)
        names = names_known(commits)
        with dvc_repository(wait=False) as repo, remote_problems():
            objects = repo.cloud.get_remote_odb(command="gc -c")
            spare = list(spare_of_remote(repo, objects, needed, names))
            sections: list[tuple[str, list[Spare], Delete]] = [(str(objects.path), spare, objects.fs.remove)]
            stores = {str(objects.path): objects.fs.fs}
        if (prefix := profile_setting("s3-prefix") or "").startswith(SCHEME):
            with s3_problems(prefix):
                store = stores[prefix] = file_system()
                sections.append((prefix, list(spare_of_jobs(prefix, store)), store.rm))
        print_spare(sections)
        if not yes:
            return
        if origins_commits() != commits:
            raise HeirloomError(
                "origin has got other commits meanwhile, so nothing is deleted: `git fetch` and try again"
            )
        forget_what_dvc_knows()
        for place, found, remove in sections:
            old = [each for each in found if is_old(each) and (strange or each.owner != STRANGE)]
            old.sort(key=lambda each: not each.is_list)
            with remote_problems():
                delete(old, remove)
                refuse_what_is_left(place, old, stores[place])
            print(f"{place}: deleted {len(old)} objects, {sum(each.size for each in old):,} bytes", flush=True)


def refuse_what_is_left(place: str, old: list[Spare], store: Any) -> None:
    """Raise HeirloomError for objects that are still there: s3fs 2026.9 drops what S3 says of each (_bulk_delete)."""
    there = {path for path, _, _ in listing(store, place.removeprefix(SCHEME).rstrip("/"))}
    if left := [each.path for each in old if each.path in there]:
        raise HeirloomError(
            f"{place}: {len(left)} of {len(old)} objects could not be deleted ({left[0]}): give s3:DeleteObject there"
        )


def is_old(found: Spare) -> bool:
    return time.time() - found.written > OLD


def delete(old: list[Spare], remove: Delete) -> None:
    """Delete objects in their order, lists of files first and in requests of their own."""
    for kind in (True, False):
        paths = [each.path for each in old if each.is_list is kind]
        for begin in range(0, len(paths), AT_ONCE):
            remove(paths[begin : begin + AT_ONCE])


def spare_of_remote(repo, objects, needed: set[str], names: dict[str, str]) -> Iterator[Spare]:
    """Yield the objects of a DVC remote that are not needed; `needed` has what commits name, not what lists name.

    A list that is needed keeps its files; the files of any other are as young as the list, and STRANGE where it is.
    Raises HeirloomError for a damaged list that stays.
    """
    found = {}
    for path, size, written in listing(objects.fs.fs, objects.path):
        value = "".join(path.rsplit("/", 2)[-2:])
        if is_hash(value):
            found[value] = (path, size, written)
    cache = cache_folder() / "files" / "md5"
    owners = {value: run_of(path) for value, path in names.items()}
    kept, written_with = set(needed), dict[str, float]()
    of_strangers: set[str] = set()
    for value, (_, _, written) in found.items():
        if not value.endswith(".dir"):
            continue
        stays = value in needed or time.time() - written <= OLD
        try:
            if not bring_list(repo, value):
                continue  # it went away this moment
        except DamagedListError:
            if stays:
                raise
            continue
        inside = read_list(value, cache).values()
        if value in needed:
            kept.update(inside)
        for each in inside:
            written_with[each] = max(written, written_with.get(each, 0.0))
        if value in owners:
            owners |= {each: owners[value] for each in inside if each not in owners}
        else:
            of_strangers.update(inside)
    for value in needed | names.keys():
        if value.endswith(".dir") and value not in found and object_path(value, cache).is_file():
            inside = read_list(value, cache).values()
            if value in needed:
                kept.update(inside)  # a push of it was interrupted
            else:
                owners |= {each: owners[value] for each in inside if each not in owners}  # or a cleaning was
    for value, (path, size, written) in found.items():
        if value not in kept:
            written = max(written, written_with.get(value, 0.0))
            owner = STRANGE if value in of_strangers else owners.get(value, STRANGE)
            yield Spare(path, size, written, owner, value.endswith(".dir"))


def spare_of_jobs(prefix: str, store) -> Iterator[Spare]:
    """Yield what jobs left below their prefix; no branch names any of it.

    Objects are put again when they are used again, so age tells. The checkpoints of a job are of one age, that of the
    youngest: a job that goes on needs all of them.
    """
    root = prefix.removeprefix(SCHEME).rstrip("/")
    stages = {hashlib.sha256(key.encode()).hexdigest()[:12]: stage for key, stage in stages_by_identity().items()}
    together: dict[str, list[tuple[str, int, float]]] = defaultdict(list)
    for path, size, written in listing(store, root):
        kind, _, rest = path.removeprefix(f"{root}/").partition("/")
        if kind == "checkpoints":
            together[rest.partition("/")[0]].append((path, size, written))
        elif kind == "results" and (label := RESULT.match(rest)):
            yield Spare(path, size, written, label[1])
        elif kind in ("objects", "results", "output"):
            yield Spare(path, size, written, JOBS_FILES)
    for key, found in together.items():
        youngest = max(written for _, _, written in found)
        owner = stages[key].partition("-")[2] if key in stages else "checkpoints of a job that did not end"
        yield from (Spare(path, size, youngest, owner) for path, size, _ in found)


def listing(store: Any, root: str) -> Iterator[tuple[str, int, float]]:
    """Yield path, bytes and time of writing of every file below a folder of a file system of fsspec's."""
    store.invalidate_cache()
    found = store.find(root, detail=True)
    if not isinstance(found, Mapping):  # DVC's own file system of this machine gives bare paths
        for path in found:
            facts = os.stat(path)
            yield path, facts.st_size, facts.st_mtime
        return
    for path, facts in found.items():
        written = facts.get("LastModified") or facts.get("last_modified") or facts.get("mtime")
        if written is None:
            raise HeirloomError(
                f"{root}: this kind of remote does not tell when an object was written: clean it yourself"
            )
        yield path, facts["size"] or 0, written.timestamp() if hasattr(written, "timestamp") else float(written)


def profile_setting(name: str) -> str | None:
    """Return a setting of SageMaker's profile; None where none is set."""
    value = ((read_yaml(PROFILE) if PROFILE.is_file() else None) or {}).get(f"sagemaker-{name}")
    return value if isinstance(value, str) else None


def print_spare(sections: Iterable[tuple[str, list[Spare], Delete]]) -> None:
    """Write a line for each owner and place, then the sums; dollars where the price of storage is known."""
    price = read_prices(profile_setting("region")).storage
    for place, found, _ in sections:
        print(f"{place}: {'nothing is spare' if not found else ''}")
        by_owner: dict[str, list[Spare]] = defaultdict(list)
        for each in found:
            by_owner[each.owner].append(each)
        for owner, members in sorted(by_owner.items()):
            old = [each for each in members if is_old(each)]
            print(f"  {described(members, price):48} {owner}{f', {len(old)} of them old' if old else ''}")
        old = [each for each in found if is_old(each)]
        if found:
            print(f"  {described(found, price)}: needed by no branch or tag of origin")
            print(f"  {described(old, price)}: of these, older than {OLD / 86400:.0f} days; --yes deletes them")
        if strange := [each for each in old if each.owner == STRANGE]:
            print(
                f"  {described(strange, price)}: of these, {STRANGE}, and kept: of a colleague, or of another project "
                "with the same remote; --yes --unknown deletes them too"
            )


def described(found: list[Spare], price: Any) -> str:
    """Return number, bytes and, where the price is known, US dollars a month."""
    size = sum(each.size for each in found)
    dollars = "" if price is None else f", ${size / GIB * price.usd_per_gb_month:,.2f} a month"
    return f"{len(found):,} objects, {size:,} bytes{dollars}"


def forget_what_dvc_knows() -> None:
    """Let DVC ask the remote what it has: it remembers lists that it has seen there, and would not push them again."""
    from dvc_data.hashfile.db import get_index

    with dvc_repository(wait=False) as repo:
        get_index(repo.cloud.get_remote_odb(command="gc -c")).clear()


@contextmanager
def remote_problems() -> Iterator[None]:
    """Turn what DVC and file systems raise into a sentence."""
    try:
        yield
    except HeirloomError:
        raise
    except Exception as error:
        raise HeirloomError(f"the DVC remote cannot be cleaned from here: {sentence(error)}") from error
