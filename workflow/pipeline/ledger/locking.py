"""Two at once: one workflow a working tree, and DVC's own lock around dvc.lock.

Both are kernel locks, so a process that is killed leaves nothing to clean up by hand.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from heirloom.errors import HeirloomError
from heirloom.launcher.dvc_hashes import stamp
from pipeline.dvc_project import dvc_repository
from pipeline.paths import DVC_LOCK_FILE, LOCK_FILE

LOCK_TIMEOUT = 3.0
"""Seconds to wait for DVC's lock before reading without it; DVC's own commands give up after as many."""
SETTLED = 1.0
"""Seconds without a change after which a file counts as written to its end."""


class WorkflowLock:
    """Held by the main Snakemake process for life; who does not hold it changes nothing."""

    def __init__(self) -> None:
        self._lock = FileLock(LOCK_FILE)
        self.problem: str | None = None
        """Why the lock cannot be had though nobody holds it: a folder that may not be written."""

    def take(self) -> bool:
        """Try to become the one that works here; False when another process is."""
        try:
            LOCK_FILE.parent.mkdir(exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        return True


@contextmanager
def dvc_lock() -> Iterator[None]:
    """Hold DVC's repository lock, as every DVC command does while it reads or writes dvc.lock; waits for it."""
    with dvc_repository() as repo, repo.lock:
        yield


def text_between_writes(path: Path) -> str:
    """Return the text of dvc.lock as no DVC process is in the middle of writing it.

    DVC rewrites it in place while it holds its repository lock: who reads at that moment finds it empty or cut
    short. So the reader shares that lock for a moment. A process that holds it for longer hashes or transfers data,
    perhaps for hours; then the file counts as it is, once it has not changed for a second.
    """
    if not DVC_LOCK_FILE.exists():
        return path.read_text(encoding="utf-8")  # no DVC has worked here
    if not DVC_LOCK_FILE.is_file():
        raise HeirloomError(f"{DVC_LOCK_FILE} is no file, and DVC locks by it: delete it while no DVC runs")
    deadline = time.monotonic() + LOCK_TIMEOUT
    with DVC_LOCK_FILE.open() as lock:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                return path.read_text(encoding="utf-8")  # closing the file lets go of the lock
    return settled_text(path)


def settled_text(path: Path) -> str:
    """Return the text of a file that nothing has changed for SETTLED seconds."""
    while True:
        before = stamp(path.stat())
        text = path.read_text(encoding="utf-8")
        time.sleep(SETTLED)
        if stamp(path.stat()) == before:
            return text
