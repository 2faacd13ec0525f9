"""The table of the lm-evaluation-harness's own tasks that a run may name: which hub dataset each reads.

Plans need it, and the harness is in an environment of its own and takes ten seconds to look through its 13,000 tasks.
So only the families in FAMILIES are known: what everybody reports, whose files read rows and nothing else.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

FAMILIES = (
    ("arc", "commonsense_qa", "gsm8k", "hellaswag", "ifeval", "lambada", "mmlu/default", "openbookqa", "piqa", "sciq")
    + ("super_glue/boolq", "truthfulqa", "winogrande")
)  # fmt: skip
"""Folders of task files, below the harness's own folder of tasks."""
TAGS = ("ai2_arc", "lambada", "truthfulqa")
"""Names for several tasks which all lie in one family; others stand for tasks of other families, too."""
TOKENIZER = "punkt_tab"
"""What code of a task may fetch besides its rows: nltk's data to split sentences."""


def harness_tables() -> Iterator[tuple[str, str]]:
    """Yield (name of the file, its text): tasks with dataset, configuration, folder and needs; groups with tasks."""
    from lm_eval import tasks
    from lm_eval.tasks._index import Kind

    home = Path(tasks.__file__).parent
    found: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    for family in FAMILIES:
        index = tasks.TaskManager(include_path=str(home / family), include_defaults=False).task_index
        code = "".join(file.read_text(encoding="utf-8") for file in sorted((home / family).glob("*.py")))
        for name, entry in index.items():
            alone = entry.yaml_path is not None and entry.yaml_path.parent == home / family  # not of a folder below
            if entry.kind is Kind.TASK and alone and reads_rows_alone(entry.cfg):
                needs = {"needs": TOKENIZER} if TOKENIZER in code else {}
                source = {"dataset": entry.cfg["dataset_path"], "config": entry.cfg.get("dataset_name")}
                found[name] = {key: value for key, value in source.items() if value} | {"folder": family} | needs
        for name, entry in index.items():
            if name not in found and (entry.kind is Kind.GROUP or name in TAGS):
                members = list(members_of(name, index))
                if members and all(member in found for member in members):
                    groups[name] = sorted(set(members))
    table = {
        "harness": version("lm_eval"),
        "tasks": dict(sorted(found.items())),
        "groups": dict(sorted(groups.items())),
    }
    yield "harness_tasks.json", json.dumps(table, indent=1, sort_keys=True) + "\n"


def reads_rows_alone(task: dict[str, Any]) -> bool:
    """Say whether all that a task reads are rows of a hub dataset: no code makes them, no place is named besides."""
    plain = not (set(task.get("dataset_kwargs") or {}) - {"trust_remote_code"}) and not task.get("custom_dataset")
    return plain and "/" in str(task.get("dataset_path")) and not task.get("unsafe_code")


def members_of(name: str, index: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the tasks that a group, or a tag, stands for; a task stands for itself."""
    entry = index.get(name)
    below = None if entry is None else entry.tags if entry.kind.name == "TAG" else (entry.cfg or {}).get("task")
    if entry is None or entry.kind.name in ("TASK", "PY_TASK"):
        yield name
        return
    for member in below if isinstance(below, list | set) else [below]:
        yield from members_of(member if isinstance(member, str) else member.get("task") or member.get("group"), index)
