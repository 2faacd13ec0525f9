"""A commit's own code tells what a program imports there, also where the project is a folder of a larger repository."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.code.earlier_code import closure_at

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("__init__.py", "code_closure.py", "errors.py")


@pytest.mark.parametrize("below", ["", "models/project/"])
def test_a_program_and_its_modules_are_found_as_they_were(below, tmp_path, monkeypatch):
    project = tmp_path / below
    (project / "scripts/heirloom").mkdir(parents=True)
    for name in NEEDED:
        shutil.copy(ROOT / "scripts/heirloom" / name, project / "scripts/heirloom")
    (project / "scripts/made.py").write_text("from heirloom import errors\n")
    (project / "scripts/heirloom/later.py").touch()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "then"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    (project / "scripts/made.py").write_text("from heirloom import later\n")  # edited since, and not committed
    monkeypatch.chdir(project)
    found = closure_at(commit.stdout.strip(), "scripts/made.py")
    assert {path for path in found if not path.endswith("__init__.py")} == {
        "scripts/made.py",
        "scripts/heirloom/errors.py",
    }
    assert closure_at("0" * 40, "scripts/made.py") == []
    status = subprocess.run([*git, "status", "--short"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert status.stdout == f" M {below}scripts/made.py\n"  # the index is not touched
