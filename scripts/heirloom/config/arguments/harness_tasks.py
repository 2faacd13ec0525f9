"""The lm-evaluation-harness's own tasks that a run may name, without importing the harness.

They stand in workflow/schemas/harness_tasks.json, generated from the pinned version.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from heirloom.config.parsing.mistakes import closest

TABLE = Path(__file__).resolve().parents[4] / "workflow" / "schemas" / "harness_tasks.json"
DEFAULT = "default"
"""What the hub calls the configuration that is meant where none is named."""


class HarnessTask(NamedTuple):
    """A task file of the harness: the hub dataset that it reads, its configuration, and where the file lies."""

    dataset: str
    config: str
    folder: str
    needs: str | None


@functools.cache
def harness_table() -> dict[str, Any]:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def tasks_of(name: str) -> dict[str, HarnessTask]:
    """Return the tasks that a name stands for: a task itself, or those of a group; none of an unknown name."""
    table = harness_table()
    names = [name] if name in table["tasks"] else table["groups"].get(name, [])
    rows = [(task, table["tasks"][task]) for task in names]
    return {
        task: HarnessTask(row["dataset"], row.get("config", DEFAULT), row["folder"], row.get("needs"))
        for task, row in rows
    }


def problem_of(name: str) -> str | None:
    """Return what is wrong with the name of a task; None when it can be scored."""
    table = harness_table()
    if tasks_of(name):
        return None
    near = closest(name, sorted(table["tasks"] | table["groups"]))
    families = ", ".join(sorted({row["folder"].split("/")[0] for row in table["tasks"].values()}))
    others = f"known are those of {families}; put another file with its rows into a folder, for include_path"
    remedy = f"did you mean {near}?" if near else others
    return f"there is no {name} among the tasks of the harness {table['harness']} that are known here: {remedy}"
