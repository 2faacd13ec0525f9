"""Nothing in the README that is not run or checked."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from warm_start import warm_workflow
from working_tree import copy_working_tree

from heirloom.config.project import load_project
from pipeline.graph.graph import build_graph

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
TEMPLATE = REPOSITORY / "workflow" / "project_template"
"""Files that a project of one's own begins with, at the same places."""
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "scripts/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    TEMPLATE / "README.md",
]


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git has, in which nothing has run; the profile of SageMaker has its own examples as settings."""
    folder = tmp_path_factory.mktemp("readme") / "clone"
    copy_working_tree(folder)
    profile = folder / "workflow/profiles/sagemaker/config.yaml"
    profile.write_text(re.sub(r"^# (sagemaker-\S+: )", r"\1", profile.read_text(), flags=re.MULTILINE))
    (folder / ".dvc/config").write_text(
        "[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://b/heirloom\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    folder = REPOSITORY if document.parent == TEMPLATE else document.parent
    missing = [link for link in links if "://" not in link and not (folder / link).exists()]
    assert missing == []


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets_exist(clone: Path, command: str) -> None:
    words = shlex.split(command)
    done = subprocess.run([*words, "--dry-run"], cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted({line for line in COMMANDS if line.startswith("snakemake")}))
def test_snakemake_commands_are_understood(clone: Path, command: str) -> None:
    dry = [*shlex.split(command), *([] if "-n" in command.split() else ["-n"])]
    warm = {**os.environ, "PATH": f"{warm_workflow()}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(dry, cwd=clone, env=warm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    trained = r"^run +(train-demo-pretrain|demo-pretrain: (\w+, )*train)\b"
    assert re.search(trained, done.stderr, re.MULTILINE), done.stderr


@pytest.mark.parametrize("command", sorted({line for line in COMMANDS if line.startswith("dvc ")}))
def test_dvc_commands_are_understood(clone: Path, command: str) -> None:
    done = subprocess.run([*shlex.split(command), "--help"], cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_is_of_a_kind_that_is_checked() -> None:
    known = ("make ", "snakemake", "dvc ", "git ", ". .venv/bin/activate")
    assert [line for line in COMMANDS if line and not line.startswith(known)] == []


def test_the_new_run_of_the_readme_is_right_and_one_file(clone: Path) -> None:
    (text,) = blocks("yaml")
    file = clone / "config/runs/polite-quickly.yaml"
    file.write_text(text + "\n")
    try:
        done = subprocess.run(
            [sys.executable, "workflow/pipeline", "plan", "--stages", "--runs", "polite-quickly"],
            cwd=clone, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        file.unlink()
    assert done.returncode == 0, done.stderr
    assert "evaluate-polite-quickly" in done.stdout


def test_the_table_of_stages_tells_the_truth() -> None:
    rows = re.findall(
        r"^\| `(\w+)-[A-Z][\w-]*` \| \[(\w+)\]\((\S+)\) \| (.+?) \| (.+?) \| (.+?) \|$", README, re.MULTILINE
    )
    graph = build_graph(load_project(REPOSITORY, None))
    kinds = {stage.kind for stage in graph.stages.values()}
    assert {kind for kind, *_ in rows} == kinds
    for kind, rule, file, scripts, config, output in rows:
        stages = [stage for stage in graph.stages.values() if stage.kind == kind]
        assert re.search(rf"^rule {rule}:$", (REPOSITORY / file).read_text(), re.MULTILINE)
        assert {stage.cmd.split()[3] for stage in stages} <= set(re.findall(r"\((scripts/\w+\.py)\)", scripts))
        assert {name for stage in stages for names in stage.params.values() for name in names} <= set(
            re.findall(r"`(\w+)`", config)
        )
        folders = {re.sub(r"[^/]+$", "", path) for stage in stages for path in stage.products}
        assert folders == set(re.findall(r"`(\S+)`", output))
