"""What others' tools read of the repository: the hooks of pre-commit, the citation."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

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


def test_the_citation_says_what_the_project_says():
    """The required keys of the Citation File Format 1.2.0, https://github.com/citation-file-format."""
    citation = read_yaml(REPOSITORY / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"].lower() == PROJECT["name"]
    assert citation["abstract"] == PROJECT["description"]
    assert citation["authors"] == [{"name": "Heirloom contributors"}]
