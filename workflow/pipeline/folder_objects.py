"""DVC's objects that list a folder's files (`HASH.dir`), believed only as what their name says and nothing more.

DVC joins the names in such a list to the artifact's path, and its hashes to places in the cache, without looking at
either (dvc-data 3.18), and compares no list that it fetches with its own name. Whoever may write to the remote could
so write anywhere on the machines that read it. Here a list is compared and looked through before DVC sees it.
"""

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

from heirloom.artifacts import is_inside
from heirloom.errors import HeirloomError

LARGEST = 1 << 28
"""Bytes of a list: two million files."""
_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")


class DamagedListError(HeirloomError):
    """A folder object that is not what its name says, or that names places outside its artifact."""


def is_hash(value: object) -> bool:
    """Tell whether a value is a hash as DVC records it, so that it names an object and no other place."""
    return isinstance(value, str) and bool(_HASH.fullmatch(value))


def object_path(value: str, cache: Path) -> Path:
    """Return where DVC 3 keeps an object in its cache."""
    return cache / value[:2] / value[2:]


def read_list(value: str, cache: Path) -> dict[str, str]:
    """Return relative name → hash of a folder object in the cache. Raises OSError, DamagedListError."""
    return checked_list(object_path(value, cache).read_bytes(), value)


def checked_list(content: bytes, value: str) -> dict[str, str]:
    """Return relative name → hash of a folder object's content. Raises DamagedListError."""
    if f"{hashlib.md5(content).hexdigest()}.dir" != value:
        raise DamagedListError(
            f"the folder object {value} has other content than its name says: somebody changed it, or a disk or a copy "
            "is damaged"
        )
    try:
        files = {row["relpath"]: row["md5"] for row in json.loads(content)}
        wrong = next((name for name, md5 in files.items() if not (is_inside(name) and is_hash(md5))), None)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedListError(f"the folder object {value} is no list of files") from error
    if wrong is not None:
        raise DamagedListError(f"the folder object {value} names {wrong!r}, which is no file inside its artifact")
    return files


def has_list(repo, value: str) -> bool:
    """Tell whether the cache of DVC's `repo` has a folder object; a damaged one is told of and taken out."""
    kept = Path(repo.cache.local.oid_to_path(value))
    try:
        checked_list(kept.read_bytes(), value)
    except FileNotFoundError:
        return False
    except DamagedListError as error:
        print(f"{error}: taken out of the cache", file=sys.stderr)
        kept.unlink()
        return False
    return True


def bring_list(repo, value: str, remote: str | None = None) -> bool:
    """See to it that the cache of DVC's `repo` has a folder object; False when it is nowhere to be had.

    It is fetched from the remote called `remote`, or the default one. Raises DamagedListError for what comes from
    there, DVC's and the remote's errors.
    """
    from dvc.config import NoRemoteError
    from dvc.fs import localfs

    if has_list(repo, value):
        return True
    try:
        store = repo.cloud.get_remote_odb(remote, command="pull")
        path = store.oid_to_path(value)
        size = store.fs.size(path)
        if size is None or size > LARGEST:
            raise DamagedListError(f"the folder object {value} on the remote has {size:,} bytes, at most {LARGEST:,}")
        with store.fs.open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except (FileNotFoundError, NoRemoteError):
        return False
    checked_list(content, value)
    with tempfile.NamedTemporaryFile(dir=repo.tmp_dir) as fetched:
        fetched.write(content)
        fetched.flush()
        repo.cache.local.add(fetched.name, localfs, value, hardlink=False)
    return True
