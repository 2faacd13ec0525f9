"""scripts/README.md has every program, in the group to which it belongs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = re.MULTILINE | re.DOTALL
SCRIPTS = REPOSITORY / "scripts"
GROUPS = {
    title: re.findall(r"^\| \[(\S+\.py)\]\(\1\) \| (.+) \|$", text, re.MULTILINE)
    for title, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (SCRIPTS / "README.md").read_text(), FLAGS)
}


def test_every_program_is_listed_once():
    listed = [program for rows in GROUPS.values() for program, _ in rows]
    assert sorted(listed) == sorted(path.name for path in SCRIPTS.glob("*.py"))
    assert list(GROUPS) == ["Stages", "Entries", "Tools"]


def test_stages_are_what_rules_run():
    """A rule's docstring has the form of its command, which tests/house/test_rules.py compares with the graph."""
    run: dict[str, list[str]] = {}
    for file in sorted(REPOSITORY.glob("rules/*.smk")):
        found = re.findall(r'^rule (\w+):\n    """.*?(?:python|torchrun) scripts/(\S+)\.py\n', file.read_text(), FLAGS)
        for rule, scripts in found:
            for script in scripts.strip("{}").split(","):
                run.setdefault(f"{script}.py", []).append(rule)
    listed = {program: cells.split(" | ")[0].split(", ") for program, cells in GROUPS["Stages"]}
    assert listed == run


def test_every_program_says_how_it_is_called():
    for path in SCRIPTS.glob("*.py"):
        assert f"scripts/{path.name} " in (ast.get_docstring(ast.parse(path.read_text())) or ""), path


STANDARD_LIBRARY_ALONE = {"doctor.py", "launch.py", "new_project.py"}
"""They set up, look, or begin others."""


def test_every_program_says_in_one_sentence_that_a_library_is_not_installed():
    """Python's -S leaves out what is installed, as another Python than the environment's does."""
    for program in sorted(path for path in SCRIPTS.glob("*.py") if path.name not in STANDARD_LIBRARY_ALONE):
        said = without_libraries(program, "--help")
        assert re.fullmatch(r"error: \w+ is not installed in \S+, whose Python this is: .*\n", said), program
    said = without_libraries(SCRIPTS.parent / "workflow" / "pipeline", "plan")
    assert " is not installed in " in said and "report" not in said


def without_libraries(program: Path, *options: str) -> str:
    """Return what a program says that ends with 1."""
    command = [sys.executable, "-S", str(program), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, program
    return done.stderr
