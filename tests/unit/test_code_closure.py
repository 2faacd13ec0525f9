"""heirloom.code_closure and heirloom.stage: an edit re-executes the stages that import the edited module."""

import functools
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from heirloom import code_closure
from heirloom.errors import HeirloomError
from pipeline.graph import stages
from pipeline.graph.remembered_imports import remembered_imports


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own: scripts/ with a library `lib`."""
    folder = tmp_path / "scripts"
    (folder / "lib" / "deep").mkdir(parents=True)
    for name in ("__init__", "a", "b", "c", "d", "e", "unused", "deep/__init__", "deep/f", "deep/g"):
        (folder / "lib" / f"{name}.py").touch()
    monkeypatch.setattr(code_closure, "SCRIPTS", folder)
    monkeypatch.setattr(code_closure, "PROJECT", tmp_path)
    code_closure.direct_imports.cache_clear()
    return folder


def names(scripts: Path, text: str) -> list[str]:
    """Return the closure of a script with this text, as paths below scripts/."""
    (scripts / "script.py").write_text(text)
    code_closure.direct_imports.cache_clear()
    return [str(path.relative_to(scripts)) for path in code_closure.code_closure(scripts / "script.py")]


@pytest.mark.parametrize(
    ("bytes_", "said"), [(b"x = 1\nif\n", ":2: is not valid Python: "), (b"x\0", ": is not valid Python: ")]
)
def test_a_module_that_is_no_python_is_told_with_its_place(scripts: Path, bytes_: bytes, said: str) -> None:
    (scripts / "lib" / "a.py").write_bytes(bytes_)
    with pytest.raises(HeirloomError, match=rf"lib/a\.py.*{said}.*; mend it"):
        names(scripts, "import lib.a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import lib.a", ["lib/a.py"]),
        ("from lib import a, b", ["lib/a.py", "lib/b.py"]),
        ("from lib.a import name", ["lib/a.py"]),
        ("from lib.deep import f", ["lib/deep/f.py"]),
        ("def later():\n    from lib import c", ["lib/c.py"]),
        ("import importlib\nimportlib.import_module('lib.d')", ["lib/d.py"]),
        ("import os, json, numpy", []),
        ("import lib.missing", []),
    ],
)
def test_each_way_to_import(scripts: Path, text: str, expected: list[str]) -> None:
    assert names(scripts, text) == sorted([*expected, "script.py"])


def test_imports_of_imports_and_relative_ones(scripts: Path) -> None:
    (scripts / "lib/a.py").write_text("from . import b\nfrom .deep.f import x\n")
    (scripts / "lib/deep/f.py").write_text("from .. import c\nfrom .g import y\n")
    assert names(scripts, "import lib.a") == [
        "lib/a.py", "lib/b.py", "lib/c.py", "lib/deep/f.py", "lib/deep/g.py", "script.py",
    ]  # fmt: skip


def test_a_package_counts_once_it_holds_code(scripts: Path) -> None:
    assert "lib/__init__.py" not in names(scripts, "import lib.a")
    (scripts / "lib/__init__.py").write_text("VERSION = 1\n")
    assert "lib/__init__.py" in names(scripts, "import lib.a")


def test_a_circle_of_imports_ends(scripts: Path) -> None:
    (scripts / "lib/a.py").write_text("import lib.b")
    (scripts / "lib/b.py").write_text("import lib.a")
    assert names(scripts, "import lib.a") == ["lib/a.py", "lib/b.py", "script.py"]


def test_libraries_are_not_the_projects_in_whichever_environment_they_lie(scripts: Path, monkeypatch) -> None:
    libraries = scripts.parent / "environments" / "other" / "lib" / "python3" / "site-packages"
    libraries.mkdir(parents=True)
    for file in (libraries / "a_library.py", scripts / "a_module.py"):
        file.write_text("VERSION = 1\n")
        module = ModuleType(file.stem)
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, file.stem, module)
    assert code_closure.loaded_project_files() == {scripts / "a_module.py"}


@pytest.mark.parametrize("hidden", ['__import__("heirloom.artifacts")', ""])
def test_a_script_fails_when_it_loads_what_its_imports_do_not_show(tmp_path: Path, hidden: str) -> None:
    script = code_closure.SCRIPTS / "_test_of_stage_run.py"
    script.write_text(f"from heirloom import stage\n\n\ndef main():\n    {hidden or 'pass'}\n\n\nstage.run(main)\n")
    try:
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    finally:
        script.unlink()
    if hidden:
        assert done.returncode == 1
        assert done.stderr.startswith("error: _test_of_stage_run.py loaded scripts/heirloom/artifacts.py, which its")
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_remembered_imports_are_those_of_the_file_as_it_is(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scripts.parent)
    parsed: list[str] = []
    parse = code_closure.imported_names
    monkeypatch.setattr(code_closure, "imported_names", lambda file: parsed.append(file.name) or parse(file))

    def found(text: str | None = None) -> list[str]:
        parsed.clear()
        code_closure.direct_imports.cache_clear()
        if text is not None:
            (scripts / "script.py").write_text(text)
        remembered = remembered_imports.__wrapped__()  # as in another process
        closure = code_closure.code_closure(scripts / "script.py", remembered.of)
        remembered.save()
        return [str(path.relative_to(scripts)) for path in closure]

    assert found("import lib.a") == ["lib/a.py", "script.py"] and set(parsed) == {"script.py", "a.py"}
    assert found() == ["lib/a.py", "script.py"] and parsed == []
    assert found("import lib.b") == ["lib/b.py", "script.py"] and set(parsed) == {"script.py", "b.py"}
    (scripts / "lib/b.py").write_text("import lib.c")
    assert found() == ["lib/b.py", "lib/c.py", "script.py"] and set(parsed) == {"b.py", "c.py"}


def test_a_command_remembers_what_it_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start of snakemake parsed all modules again, 1.2 of its 5 CPU seconds: the memory was written too early."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "remembered_imports", functools.cache(remembered_imports.__wrapped__))
    modules = stages.code.__wrapped__("scripts/evaluate_model.py")
    remembered = remembered_imports.__wrapped__().known  # as in another process
    assert len(modules) > 20 and remembered.keys() == {str(code_closure.PROJECT / path) for path in modules}
