"""heirloom.json: what the folder of a model or a checkpoint tells of its own making."""

import json
from pathlib import Path
from typing import Any

FACTS = "heirloom.json"


def read_facts(model: Path) -> dict[str, Any]:
    """Return heirloom.json of a model's folder; empty without one."""
    file = model / FACTS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
