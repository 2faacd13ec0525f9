"""Two at once: one workflow a working tree, and DVC's own lock around dvc.lock.

Both are kernel locks, so a process that is killed leaves nothing to clean up by hand.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from pipeline.paths import LOCK_FILE


class WorkflowLock:
    """Held by the main Snakemake process for life; who does not hold it changes nothing."""

    def __init__(self) -> None:
        LOCK_FILE.parent.mkdir(exist_ok=True)
        self._lock = FileLock(LOCK_FILE)

    def take(self) -> bool:
        """Try to become the one that works here; False when another process is."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True


@contextmanager
def dvc_lock() -> Iterator[None]:
    """Hold DVC's repository lock, as every DVC command does while it reads or writes dvc.lock; waits for it."""
    from dvc.repo import Repo

    with Repo(_wait_for_lock=True) as repo, repo.lock:
        yield
