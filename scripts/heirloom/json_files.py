"""Read and write JSON for people and for tools."""

import json
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file that a program has written.

    Raises HeirloomError, which names the file, when it cannot be read or holds no object: it was cut short or edited.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problem = error.strerror
    except (ValueError, RecursionError) as error:
        problem = f"it is no JSON: {error}"
    else:
        if isinstance(value, dict):
            return value
        problem = "it holds no object, {…}"
    raise HeirloomError(f"{file} is damaged ({problem}): bring it back, or make it again")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as a person reads it: indented, in the order given, with letters as they are."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
