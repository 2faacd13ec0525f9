"""What others' tools read of the repository: the hooks of pre-commit, the citation."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from heirloom.config.parsing.reading import read_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
HOOKS = read_yaml(REPOSITORY / ".pre-commit-config.yaml")
(LOCAL,) = HOOKS["repos"]
KEYS = {"id", "name", "entry", "language", "files", "types_or", "pass_filenames"}
"""Of those that pre-commit knows for a hook, the ones in use; it warns of others and ignores them."""


def test_hooks_are_of_the_projects_own_environment():
    assert (set(HOOKS), set(LOCAL), LOCAL["repo"]) == ({"repos"}, {"repo", "hooks"}, "local")
    for hook in LOCAL["hooks"]:
        assert {"id", "name", "entry", "language"} <= set(hook) <= KEYS
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)
        re.compile(hook.get("files", ""))
    assert len({hook["id"] for hook in LOCAL["hooks"]}) == len(LOCAL["hooks"])


@pytest.mark.parametrize("hook", LOCAL["hooks"], ids=lambda hook: hook["id"])
def test_a_hook_runs_and_passes_on_the_tree(hook: dict):
    done = subprocess.run(shlex.split(hook["entry"]), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_hook_watches_files_that_there_are():
    names = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    for hook in LOCAL["hooks"]:
        assert any(re.search(hook.get("files", ""), name) for name in names), hook["id"]


def test_every_pinned_library_admits_the_pythons_that_the_project_does():
    """Poetry solves for all of `requires-python` at once, so one library that ends earlier stops `poetry install`."""
    ours = SpecifierSet(PROJECT["requires-python"])
    pythons = [f"{major}.{minor}.{patch}" for major in (3, 4) for minor in range(30) for patch in (0, 99)]
    pythons = [python for python in pythons if python in ours]
    assert {python.rpartition(".")[0] for python in pythons} == {"3.11", "3.12", "3.13", "3.14"}
    text = "".join((REPOSITORY / f"envs/{name}.txt").read_text() for name in ("workflow", "training", "development"))
    names = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))
    here = {dist.name.lower().replace("_", "-"): dist.metadata.get("Requires-Python") for dist in distributions()}
    found = {name: here[name] for name in names & here.keys() if here[name]}
    assert len(found) > 150  # the others are not of this machine, or say nothing
    refused = {name: said for name, said in found.items() if any(each not in SpecifierSet(said) for each in pythons)}
    assert refused == {}


def test_every_group_resolves_for_every_python(tmp_path: Path):
    """As uv sees it, of the index that pip uses here; the pythons are those of the test above."""
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    pip = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(pip, capture_output=True, text=True, check=True).stdout.splitlines()
    settings = {
        key.rpartition(".")[2]: ast.literal_eval(value) for key, _, value in (line.partition("=") for line in lines)
    }
    names = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    environment = {name: settings[key] for key, name in names.items() if settings.get(key)} | os.environ
    command = [sys.executable, "-m", "uv", "lock", "--dry-run", "--project", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and "Failed to fetch" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    assert "torch v" in done.stderr


def test_the_citation_says_what_the_project_says():
    """The required keys of the Citation File Format 1.2.0, https://github.com/citation-file-format."""
    citation = read_yaml(REPOSITORY / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert "version" not in citation  # it stands in pyproject.toml alone
    assert citation["license"] == PROJECT["license"]
    assert citation["title"].lower() == PROJECT["name"]
    assert citation["abstract"] == PROJECT["description"]
    assert citation["authors"] == [{"name": "Heirloom contributors"}]


def test_text_is_utf8_whatever_the_locale_says() -> None:
    """Where the locale is Latin-1, Python would read and write files of config/ and dvc.lock in that."""
    files = [file for top in ("scripts", "workflow") for file in (REPOSITORY / top).rglob("*.py")]
    silent = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file in files
        if "/tests/" not in str(file.relative_to(REPOSITORY))
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in ("read_text", "write_text")
        if not any(keyword.arg == "encoding" for keyword in node.keywords)
    ]
    assert silent == []
