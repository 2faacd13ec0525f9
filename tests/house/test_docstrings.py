"""Docstrings are no code: an edit of one makes no stage stale (pipeline.code.syntax), so no result may hang on one."""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOR_HELP = ("ArgumentParser", "HfArgumentParser", "stage_parser", "read_command", "read_reference_command")
FOR_HELP += ("raw_dataset_arguments",)
"""Functions that show a docstring as the help of a command line."""


def test_docstrings_are_shown_as_help_and_read_for_nothing_else():
    others = []
    for file in (REPOSITORY / "scripts").rglob("*.py"):
        tree = ast.parse(file.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        shown = {
            id(inner)
            for call in calls
            if getattr(call.func, "attr", getattr(call.func, "id", "")) in FOR_HELP
            for each in (*call.args, *(keyword.value for keyword in call.keywords))
            for inner in ast.walk(each)
        }
        names = [
            node for node in ast.walk(tree) if getattr(node, "id", getattr(node, "attr", "")) in ("__doc__", "getdoc")
        ]
        others += [str(file.relative_to(REPOSITORY)) for node in names if id(node) not in shown]
    assert others == ["scripts/unified_train.py"]  # which is no stage's program, and prints its own
