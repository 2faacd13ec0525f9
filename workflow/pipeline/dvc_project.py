"""This folder as DVC sees it: its settings, read by DVC's own reader, and its repository object.

Everything of DVC's is imported when it is asked for: planning does without.
"""

import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heirloom.errors import HeirloomError, plain
from heirloom.failures import causes
from heirloom.launcher.dvc_hashes import stamp
from pipeline.paths import CACHE
from pipeline.remembering import recall, remember

_VERSION = 1
DECIDING = ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")
"""Environment variables that say where DVC's settings of this user and of this machine are."""


SITE_CACHE = Path(".dvc/tmp/site")
"""Where DVC keeps its state, which it unpickles. Its own choice, /var/tmp/dvc, is open to every user."""


@contextmanager
def dvc_repository(wait: bool = True, folder: Path = Path()) -> Iterator:
    """Open the project in `folder` as DVC does, and safely: see `safe_settings`.

    Raises HeirloomError with DVC's own sentence where there is none.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # not its progress, nor its advice to `git add`
    try:
        repo = Repo(str(folder.absolute()), config=safe_settings(folder), _wait_for_lock=wait)
        _ = repo.scm  # found when first asked for
    except DvcException as error:
        raise HeirloomError(f"DVC cannot work here: {sentence(error)}") from error
    with repo:
        yield repo


def safe_settings(folder: Path) -> dict:
    """Return settings to lay over those of the project in `folder`.

    What is fetched from a remote is hashed before it counts; what DVC remembers lies in the project, unless the user
    has named a place. Raises DVC's errors for settings that it cannot read.
    """
    from dvc.config import Config

    own = Config(str((folder / ".dvc").absolute()))
    settings: dict = {"remote": {name: {"verify": True} for name in own["remote"]}}
    if "site_cache_dir" not in own["core"]:
        settings["core"] = {"site_cache_dir": str((folder / SITE_CACHE).absolute())}
    return settings


def set_aside_damaged_lock() -> None:
    """Put DVC's read/write lock file aside when it cannot be read, and say so.

    DVC rewrites it in place: a process that was killed, or a full disk, leaves it empty or cut short, and then every
    command of DVC's stops. Who holds the lock on its neighbour knows that nobody is writing it now.
    """
    file, guard = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/rwlock.lock")
    if whole(file):
        return
    try:
        with guard.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if whole(file):
                return  # it was being written
            aside = file.with_name(f"rwlock.damaged-{time.strftime('%Y-%m-%dT%H-%M-%S')}")
            file.rename(aside)
    except OSError as error:
        raise HeirloomError(f"{file} is damaged and cannot be put aside ({error.strerror}): delete it") from error
    print(f"{file} was cut short when a process was killed or a disk full: put aside as {aside.name}", file=sys.stderr)


def release_what_the_dead_hold() -> None:
    """Take killed processes that nobody has waited for yet out of DVC's read/write lock.

    They hold nothing, and DVC takes them for living: in a container whose first process collects no orphans, every
    command of DVC's would say for ever that a killed one is busy.
    """
    file, guard = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/rwlock.lock")
    if not file.exists() or not any(is_zombie(holder["pid"]) for holder in holders(file)):
        return
    with suppress(OSError), guard.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = json.loads(file.read_bytes())
        for kind, held in content.items():
            for path, by in list(held.items()):
                left = [holder for holder in (by if isinstance(by, list) else [by]) if not is_zombie(holder["pid"])]
                if not left:
                    del held[path]
                elif kind == "read":
                    held[path] = left
        file.write_text(json.dumps(content), encoding="utf-8")


def holders(file: Path) -> list[dict]:
    """Return who holds what, as DVC notes it; nobody in a file of another form, which DVC tells of itself."""
    try:
        content = json.loads(file.read_bytes())
        held = [by for kind in ("read", "write") for by in content.get(kind, {}).values()]
        found = [holder for by in held for holder in (by if isinstance(by, list) else [by])]
        return found if all(type(holder["pid"]) is int for holder in found) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def is_zombie(process: int) -> bool:
    """Say whether a process has ended and only its parent has not asked how; False where /proc does not tell."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def whole(file: Path) -> bool:
    """Tell whether DVC can read its lock file; so it can where there is none."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(key, {}), dict) for key in ("read", "write"))


def sentence(error: BaseException) -> str:
    """Return what an error of DVC's says, with its cause, in one line."""
    said = [" ".join(str(each).split()) for each in causes(error)]
    return plain(": ".join(dict.fromkeys(filter(None, said)))) or type(error).__name__


def cache_folder() -> Path:
    """Return DVC's cache folder: the one that any of DVC's four files of settings names, else `.dvc/cache`.

    DVC is asked once and its answer is remembered until one of the files is touched. Raises HeirloomError for settings
    that DVC cannot read.
    """
    file = CACHE / "dvc_settings.json"
    known = recall(file, _VERSION)
    variables = {name: os.environ.get(name) for name in DECIDING}
    place = os.getcwd()
    if known.get("for") != [place, variables] or any(stamp_of(path) != then for path, then in known["files"].items()):
        folder, files = ask_dvc()
        known = {"for": [place, variables], "folder": folder, "files": {path: stamp_of(path) for path in files}}
        remember(file, _VERSION, known)
    return Path(known["folder"])


def stamp_of(path: str) -> str | None:
    """Return what changes when a file is written; None when there is none."""
    try:
        return stamp(os.stat(path))
    except OSError:
        return None


def ask_dvc() -> tuple[str, list[str]]:
    """Return the cache folder, relative where it is below this folder, and the files that may set it."""
    from dvc.config import Config
    from dvc.exceptions import DvcException

    try:
        config = Config(os.path.abspath(".dvc"))
    except (DvcException, OSError, ValueError) as error:
        problem = f"DVC's settings cannot be read: {sentence(error)}: mend .dvc/config or .dvc/config.local"
        raise HeirloomError(problem) from error
    cache = config["cache"]
    named = config["remote"].get(cache.get("local"), {}).get("url") or cache.get("dir")
    folder = os.path.abspath(named or ".dvc/cache")
    here = os.getcwd()
    below = os.path.commonpath([here, folder]) == here
    return os.path.relpath(folder) if below else folder, list(config.files.values())
