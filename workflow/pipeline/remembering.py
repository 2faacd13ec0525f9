"""Results that are remembered on this machine between two calls: a dict in a file.

The file is only ever a shortcut. It is written whole and renamed once; one that cannot be read, or that an
earlier version wrote, counts as empty. It is JSON, which can be nothing but data whoever wrote it.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


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


def exact_json(value: Any) -> str | None:
    """Return the value as JSON, None where that would not give back the very same."""
    try:
        text = json.dumps(value)
        return text if json.loads(text) == value else None
    except (TypeError, ValueError, RecursionError):
        return None
