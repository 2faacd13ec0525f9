"""Results that are remembered on this machine between two calls: a dict in a file.

The file is only ever a shortcut. It is written whole and renamed once; one that cannot be read, or that an
earlier version wrote, counts as empty.
"""

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any


def stamp(info: os.stat_result) -> str:
    """Return a short text that changes when a file is edited or replaced."""
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ino}"


def recall(file: Path, version: Any) -> dict:
    """Return what `file` remembers, or an empty dict when it is missing, damaged or of another version."""
    try:
        found, remembered = pickle.loads(file.read_bytes())
    except (OSError, EOFError, ValueError, TypeError, AttributeError, ImportError, IndexError, pickle.UnpicklingError):
        return {}
    return remembered if found == version and isinstance(remembered, dict) else {}


def remember(file: Path, version: Any, results: dict) -> None:
    """Write `results` for the next call. A disk that takes no more is no error: the shortcut is lost, no more."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(pickle.dumps((version, results), protocol=pickle.HIGHEST_PROTOCOL))
        partial.replace(file)
    except OSError:
        with suppress(OSError):  # where there is no folder, there is no file either
            partial.unlink()
