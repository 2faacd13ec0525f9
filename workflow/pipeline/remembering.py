"""Results that are remembered on this machine between two calls: a dict in a file.

The file is only ever a shortcut. It is written whole and renamed once; one that cannot be read, or that an
earlier version wrote, counts as empty. It is JSON, which can be nothing but data whoever wrote it.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from heirloom.launcher.dvc_hashes import stamp


def recall(file: Path, version: Any) -> dict:
    """Return what `file` remembers, or an empty dict when it is missing, damaged or of another version."""
    try:
        found, remembered = json.loads(file.read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):  # TypeError: JSON, but no pair
        return {}
    return remembered if found == version and isinstance(remembered, dict) else {}


def remember(file: Path, version: Any, results: dict) -> None:
    """Write `results` for the next call; those that JSON would give back changed (a date, a key that is a number) not.

    A disk that takes no more is no error: the shortcut is lost, no more.
    """
    text = exact_json([version, results])
    if text is None:
        kept = {key: value for key, value in results.items() if exact_json({key: value}) is not None}
        text = json.dumps([version, kept])
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    except OSError:
        with suppress(OSError):  # where there is no folder, there is no file either
            partial.unlink()


class RememberedByFile:
    """What `look(path)` finds in files, as long as a file keeps its size, time and inode."""

    def __init__(self, memory: Path, version: Any, look: Callable[[str], Any]) -> None:
        """`memory`: the file of the results; `version`: what they depend on besides."""
        self.memory, self.version, self.look = memory, version, look
        self.known: dict[str, list] = recall(memory, version)
        self.changed = False

    def of(self, path: str | Path) -> Any:
        """Return what `look` finds, looked for only where the file has changed; errors are those of `look`."""
        now, name = stamp(os.stat(path)), str(path)
        found = self.known.get(name)
        if found is None or found[0] != now:
            found = self.known[name] = [now, self.look(name)]
            self.changed = True
        return found[1]

    def save(self) -> None:
        """Write what was learnt."""
        if self.changed:
            remember(self.memory, self.version, self.known)
            self.changed = False


def exact_json(value: Any) -> str | None:
    """Return the value as JSON, None where that would not give back the very same."""
    try:
        text = json.dumps(value)
        return text if json.loads(text) == value else None
    except (TypeError, ValueError, RecursionError):
        return None
