"""The config of the small stages of `make upgrade`: everything that is needed, and nothing of its size."""

from pathlib import Path

import pytest
from working_tree import copy_working_tree

from heirloom.config.project import load_project
from pipeline.upkeep.small_config import needed_files, write_small

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of config/ in a clone, while the working tree is this project's."""
    monkeypatch.chdir(ROOT)
    copy_working_tree(tmp_path, lambda name: name.startswith("config/"))
    return tmp_path


def test_runs_of_all_folders_of_config_are_made_small(clone: Path) -> None:
    """Those in config/demo/ stayed as they were: a small stage of the demo trained as long as the demo."""
    needed = needed_files(["demo-dpo"])
    assert needed["runs"] == {"demo-dpo", "demo-sft", "demo-pretrain"} and needed["models"] == {"demo-tiny"}
    write_small(clone, needed)
    project = load_project(clone, None)
    assert {str(run.path) for run in project.runs.values()} == {f"config/runs/{name}.yaml" for name in needed["runs"]}
    assert {run.raw["training"]["max_steps"] for run in project.runs.values()} == {2}
    assert {dataset.raw["source"]["rows"] for dataset in project.datasets.values()} == {32}
    assert project.models["demo-tiny"].init.hidden_size == 16
