"""Markers: the files that Snakemake sees in place of artifacts.

A marker is there while its stage's entry holds, and absent when not: a missing output is the one trigger of
Snakemake that needs neither a clock nor `.snakemake/metadata`, so a fresh clone decides as the original did.
All markers have one constant time. A marker's content is the stage's entry, so that a marker which comes back
from another machine is enough to update dvc.lock.
"""

import json
import os
import shutil
from pathlib import Path

from pipeline.graph import Graph
from pipeline.ledger.entries import Entry
from pipeline.ledger.entry_form import is_entry, parsed

LONG_AGO = 1_000_000_000
"""Modification time of every marker, in seconds since 1970: no marker is ever newer than another."""


NOTHING = "nothing-to-do"
"""What `rule all` asks for when every stage is current; a rule without any input would always be executed."""


def marker_path(folder: Path, artifact: str) -> Path:
    """Return the marker that stands for an artifact such as `checkpoints/NAME`."""
    return folder / artifact


def read_marker(folder: Path, artifact: str) -> Entry | None:
    """Return the entry that a marker holds; None when there is none or it was cut short."""
    try:
        entry = parsed(marker_path(folder, artifact).read_bytes())
    except OSError:
        return None
    return entry if is_entry(entry) else None


def returned_marker(folder: Path, artifact: str) -> Entry | None:
    """Return the entry of a marker that a job wrote since the last `synchronise`, which proves an execution.

    One that `synchronise` wrote says no more than dvc.lock said then.
    """
    try:
        if marker_path(folder, artifact).stat().st_mtime == LONG_AGO:
            return None
    except OSError:
        return None
    return read_marker(folder, artifact)


def write_marker(path: Path, entry: Entry) -> None:
    """Write a marker in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)  # nobody of us makes a folder there
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    os.utime(partial, (LONG_AGO, LONG_AGO))
    partial.replace(path)


def returned(folder: Path, graph: Graph) -> dict[str, Entry]:
    """Return stage → entry of the markers that came since the last `synchronise`, from here or from other machines.

    Snakemake gives them the time of their arrival. A stage that is no more is named by its artifact.
    """
    found = {}
    for file in folder.rglob("*"):
        if file.is_file() and file.stat().st_mtime != LONG_AGO:
            artifact = str(file.relative_to(folder))
            if entry := read_marker(folder, artifact):
                found[graph.makers.get(artifact, artifact)] = entry
    return found


def synchronise(folder: Path, graph: Graph, present: dict[str, Entry]) -> None:
    """Make the folder hold exactly the markers of the stages in `present`."""
    wanted = {marker_path(folder, graph.stages[name].artifact): entry for name, entry in present.items()}
    wanted[marker_path(folder, NOTHING)] = {}
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        if file not in wanted:
            file.unlink()
    for path, entry in wanted.items():
        if not path.exists() or path.stat().st_mtime != LONG_AGO:
            write_marker(path, entry)
