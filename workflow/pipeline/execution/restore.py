"""Bringing a recorded result back: from the working tree, DVC's cache or its remote; nothing is executed."""

import os
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from heirloom.artifacts import remove
from heirloom.errors import HeirloomError
from heirloom.failures import NOT_ALLOWED, causes, is_disk
from heirloom.launcher.dvc_hashes import FILES_AT_A_TIME, file_hash, stat_signature
from pipeline.dvc_project import dvc_repository, sentence
from pipeline.folder_objects import DamagedListError, bring_list, has_list, is_hash, object_path, read_list
from pipeline.git import git
from pipeline.ledger import Entry, Fingerprints


def put_in_place(stage: str, entry: Entry, paths: Collection[str] | None = None) -> bool:
    """Put the data of an entry into the working tree; False when some of it is nowhere to be had.

    `paths`: only these of its products. Works at the level of DVC's objects, so that it may also run inside a stage
    that DVC is executing. Raises HeirloomError when the data may be there and only room or permission is missing: to
    make it anew would not help.
    """
    from dvc.stage.loader import StageLoader

    with dvc_repository() as repo:
        loaded = repo.stage.load_one(name=stage)
        StageLoader.fill_from_lock(loaded, entry)
        return brought(repo, [out for out in loaded.outs if paths is None or out.def_path in paths], stage)


def bring_own_data() -> list[str]:
    """Put into the working tree what the user's own pointers (NAME.dvc in git) name and is not there.

    What is there stays as it is, edited or not. Returns the pointers whose data is nowhere to be had; raises
    HeirloomError for one that DVC cannot read, and as `put_in_place` does.
    """
    from dvc.exceptions import DvcException

    pointers = pointers_in_git()
    if not pointers:
        return []
    lost = []
    with dvc_repository() as repo:
        for pointer in pointers:
            try:
                outs = [out for stage in repo.stage.load_file(pointer) for out in stage.outs if not out.exists]
            except DvcException as error:
                raise HeirloomError(f"{pointer}: {sentence(error)}") from error
            if outs and all(is_hash(out.hash_info.value) for out in outs) and brought(repo, outs, pointer):
                print(f"{pointer}: restored", flush=True)
            elif outs:
                lost.append(pointer)
    return lost


def pointers_in_git() -> list[str]:
    """Return the files of DVC's that stand for data of the user's; none where there is no git to ask."""
    try:
        return [name for name in git("ls-files", "-z", "--", "*.dvc").split("\0") if name and Path(name).is_file()]
    except HeirloomError:
        return []


def brought(repo, outs: Sequence, whose: str) -> bool:
    """Put outputs as DVC's `repo` has loaded them into the working tree; False, and why, when it cannot be done."""
    from dvc.exceptions import DvcException
    from dvc_objects.errors import ObjectFormatError

    try:
        for out in outs:
            take_out_damaged(repo, out)
        missing = [out for out in outs if not is_cached(repo, out)]
        for out in missing:
            if workspace_holds(os.path.relpath(out.fs_path), out.hash_info.value):
                out.add()
            elif not out.hash_info.isdir or bring_list(repo, out.hash_info.value):
                for objects in (out.get_used_objs() or {}).values():
                    repo.cloud.pull(objects)
        if not all(is_cached(repo, out) for out in missing):
            lost = "neither DVC's cache here nor its remote has all of it"
            print(f"{whose}: its recorded result could not be restored: {lost}", file=sys.stderr)
            return False
        for out in outs:
            make_way(os.path.relpath(out.fs_path), folder=out.hash_info.isdir)
            out.checkout(force=True)
    except (DvcException, ObjectFormatError, DamagedListError, OSError) as error:
        problem = f"{whose}: its recorded result could not be restored: {sentence(error)}"
        if any(is_disk(each) or getattr(each, "errno", None) in NOT_ALLOWED for each in causes(error)):
            raise HeirloomError(f"{problem}; free the space or give the permission, and start again") from error
        print(problem, file=sys.stderr)
        return False
    return True


def is_cached(repo, out) -> bool:
    """Tell whether DVC's cache has all of a product; a folder's list is looked at before DVC follows it."""
    whole = not out.hash_info.isdir or has_list(repo, out.hash_info.value)
    return whole and not out.changed_cache()


def take_out_damaged(repo, out) -> None:
    """Delete the files of a product in DVC's cache that are not what their name says, so that they are fetched again.

    DVC believes every object that nobody may write, and would put it in place whatever a disk has made of it.
    """
    value, cache = out.hash_info.value, Path(repo.cache.local.path)
    values = {value}
    if out.hash_info.isdir:
        values = set(read_list(value, cache).values()) if has_list(repo, value) else set()
    kept = {each: object_path(each, cache) for each in values if object_path(each, cache).is_file()}
    with ThreadPoolExecutor(FILES_AT_A_TIME) as threads:
        found = dict(zip(kept, threads.map(file_hash, map(str, kept.values())), strict=True))
    for each, now in found.items():
        if now != each:
            print(f"{kept[each]} is damaged: taken out of the cache", file=sys.stderr)
            kept[each].unlink()


def make_way(path: str, folder: bool) -> None:
    """Remove what DVC would not replace: a file where a folder belongs, a link that leads nowhere."""
    try:
        wrong = os.path.lexists(path) and (stat_signature(path) is None or os.path.isdir(path) != folder)
    except OSError:
        wrong = True
    if wrong:
        remove(Path(path))


def workspace_holds(path: str, value: str) -> bool:
    """Tell whether the working tree has the very content, so that only the cache lost it."""
    with Fingerprints() as fingerprints:
        return fingerprints.of(path) == value
