"""Bringing a recorded result back: from the working tree, DVC's cache or its remote; nothing is executed."""

import sys
from collections.abc import Collection

from pipeline.ledger import Entry, Fingerprints


def put_in_place(stage: str, entry: Entry, paths: Collection[str] | None = None) -> bool:
    """Put the data of an entry into the working tree; False when some of it is nowhere to be had.

    `paths`: only these of its products. Works at the level of DVC's objects, so that it may also run inside a stage
    that DVC is executing.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage.loader import StageLoader
    from dvc_objects.errors import ObjectFormatError

    with Repo(_wait_for_lock=True) as repo:
        loaded = repo.stage.load_one(name=stage)
        StageLoader.fill_from_lock(loaded, entry)
        outs = [out for out in loaded.outs if paths is None or out.def_path in paths]
        try:
            for out in outs:
                if not out.changed_cache():
                    continue
                if workspace_holds(out.def_path, out.hash_info.value):
                    out.add()
                else:
                    for objects in (out.get_used_objs() or {}).values():
                        repo.cloud.pull(objects)
            if any(out.changed_cache() for out in outs):
                return False
            for out in outs:
                out.checkout(force=True)
        except (DvcException, ObjectFormatError, OSError) as error:
            print(f"{stage}: its recorded result could not be restored: {error}", file=sys.stderr)
            return False
    return True


def workspace_holds(path: str, value: str) -> bool:
    """Tell whether the working tree has the very content, so that only the cache lost it."""
    with Fingerprints() as fingerprints:
        return fingerprints.of(path) == value
