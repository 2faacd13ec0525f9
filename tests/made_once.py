"""What takes long to make is made once for all of pytest's workers, by the first that asks for it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make(folder)` has filled; other workers wait for it. It is read or copied, never changed.

    `make` gets a path at which there is nothing yet. When it fails, whoever asks next tries again.
    """
    base = factory.getbasetemp()
    everyone = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once"
    everyone.mkdir(exist_ok=True)
    folder, done = everyone / name, everyone / f"{name}.done"
    with FileLock(everyone / f"{name}.lock"):
        if not done.exists():
            attempt = len(list(everyone.glob(f"{name}.failed-*")))
            if folder.exists():
                folder.rename(everyone / f"{name}.failed-{attempt}")
            make(folder)
            done.touch()
    return folder
