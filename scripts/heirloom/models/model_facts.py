"""heirloom.json: what the folder of a model or a checkpoint tells of its own making."""

from pathlib import Path
from typing import Any

from heirloom.json_files import read_json

FACTS = "heirloom.json"


def read_facts(model: Path) -> dict[str, Any]:
    """Return heirloom.json of a model's folder; empty without one."""
    file = model / FACTS
    return read_json(file) if file.is_file() else {}
