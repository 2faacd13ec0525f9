"""What is in the folder of a rehearsal already, so that the next one, after a mistake is mended, begins there."""

import hashlib
import json
from pathlib import Path
from typing import Any

from heirloom.config.parsing.reading import read_yaml
from heirloom.content_hashes import file_hash
from heirloom.json_files import read_json, write_json
from pipeline.code import code_hash
from pipeline.graph import Graph, Stage

NOTE = Path("rehearsal/made.json")


class WhatIsMade:
    """Name of what is made → a hash of all that it was made from."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / NOTE
        self.known: dict[str, str] = read_json(self.file) if self.file.is_file() else {}

    def holds(self, name: str, *made_from: Any) -> bool:
        """Say whether something was made from exactly this."""
        return self.known.get(name) == digest(*made_from)

    def forget(self, name: str) -> None:
        """Something is about to be made anew: should it fail, it is not there."""
        if self.known.pop(name, None):
            self._write()

    def note(self, name: str, *made_from: Any) -> None:
        """Something is whole now."""
        self.known[name] = digest(*made_from)
        self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, self.known)


def digest(*values: Any) -> str:
    """Return a hash of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def ingredients(stage: Stage, graph: Graph, folder: Path, above: dict[str, Any]) -> list[Any]:
    """Return what a stage in the folder is made from: command, code, files, config sections, what stands above it."""
    sections = {
        file: {name: value for name, value in read_yaml(folder / file).items() if name in names}
        for file, names in stage.params.items()
    }
    files = {path: content_of(folder / path) for path in stage.files}
    code = code_hash(stage.program) if stage.program else None
    return [stage.cmd, code, sections, files, [digest(above[name]) for name in graph.upstream[stage.name]]]


def content_of(path: Path) -> list[str]:
    """Return a hash of each file at a path: one, or those of a folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [file_hash(file) for file in files if file.is_file()]
