"""The tables of what combines say what the checks say; that they are up to date, test_schemas.py tests."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from heirloom.config.trainers.table import TRAINERS

SCHEMAS = Path(__file__).resolve().parents[2] / "workflow" / "schemas"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The generator's module; the folder of generators is no package."""
    sys.path.insert(0, str(SCHEMAS))
    try:
        spec = importlib.util.spec_from_file_location("support_matrix", SCHEMAS / "support_matrix.py")
        module = sys.modules["support_matrix"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCHEMAS))
    return module


def test_what_only_two_choices_together_break_is_said_so(tables):
    adapted = tables.choice("adapted", peft={"target_modules": ["q_proj"], "merge": True})
    whole = tables.choice("whole", "needs luck", peft={"modules_to_save": ["q_proj"], "merge": True})
    packed = tables.choice("packed", training={"packing": True})
    lines = tables.matrix({"first": [adapted, packed], "second": [whole]}).splitlines()
    assert lines[2:5] == [row("adapted", "✓"), row("packed", "– (1)", sft="✓"), row("whole", "✓ (2)")]
    assert lines[6:8] == ["1. `training.packing` is no key of this trainer's arguments", "2. needs luck"]
    assert lines[9].startswith(f"Asked of the checks: {5 * len(TRAINERS)} runs, ")
    assert lines[10].endswith("A pair is refused for what refuses one of the two and for:")
    assert lines[11:] == [
        "- adapted with whole: `peft.modules_to_save` q_proj stands in target_modules too: a module is trained whole "
        f"or by an adapter ({', '.join(TRAINERS)})"
    ]


def row(text, cell, **others):
    """Return a row of the table: `cell` for every trainer but those in `others`."""
    return f"| {text} | {' | '.join(others.get(name, cell) for name in TRAINERS)} |"


def test_every_file_of_deepspeed_and_every_engine_has_its_row_or_column(tables):
    methods, inference = ((SCHEMAS.parents[1] / f"docs/{name}.md").read_text() for name in ("methods", "inference"))
    files = sorted(path.stem for path in SCHEMAS.parents[1].glob("config/deepspeed/*.json"))
    assert re.findall(r"^\| `deepspeed: (\w+)` \|", methods, re.MULTILINE) == files
    (head,) = re.findall(r"<!-- engine options -->\n\|  \| (.*) \|$", inference, re.MULTILINE)
    assert head == "`accelerate` | `deepspeed` | `deepspeed_zero` | `continuous` | `vllm`"
