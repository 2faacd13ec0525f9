"""The config of the small stages of `make upgrade`: everything that is needed, and nothing of its size."""

from pathlib import Path

import pytest
from working_tree import copy_working_tree

from heirloom.config.project import load_project
from pipeline.graph import build_graph
from pipeline.upkeep.small_config import STAND_IN, needed_files, write_small

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


RUN = "base: theirs\ndataset: rows\ntrainer: sft\ntraining: {global_batch_size: 64, max_steps: 90}\npeft: {}\n"
MODEL = "source: {hub: owner/name, revision: 0123456789abcdef0123456789abcdef01234567}\n"
ROWS = "tokenizer: theirs\nsource: {path: rows.jsonl}\nprocessing: {processing_function: PART, max_length: 64}\n"


def test_a_model_from_elsewhere_is_replaced_by_one_that_can_chat(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its small version had no end token and no chat template, so that no stage of whoever has such a model ran."""
    mine = clone / "mine"
    for name, text in (("models/theirs", MODEL), ("datasets/rows", ROWS), ("runs/tuned", RUN)):
        file = mine / "config" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text.replace("PART", "sharegpt_processing_function"))
    monkeypatch.chdir(mine)
    write_small(clone, needed_files(["tuned"]))
    monkeypatch.chdir(clone)
    project = load_project(clone, None)
    model = project.models[Path(STAND_IN).name]
    assert model.tokenizer.eos_token and model.tokenizer.pad_token
    assert "<|im_start|>assistant" in (clone / model.tokenizer.chat_template).read_text()
    assert project.models["theirs"].raw["source"] == {"path": STAND_IN}
    assert project.runs["tuned"].raw["training"] == {"global_batch_size": 16, "max_steps": 2}
    assert STAND_IN in {path for stage in build_graph(project).stages.values() for path in stage.outs}


@pytest.mark.parametrize(
    ("dataset", "source"),
    [
        ("tokenizer: theirs\nsource: {processed: 's3://bucket/rows', kind: chat}\n", {"generator": "demo"}),
        ("source: {hub: owner/rows, revision: 0123456789abcdef0123456789abcdef01234567}\n", {"hub": "owner/rows"}),
    ],
)
def test_rows_that_were_processed_elsewhere_or_stay_raw_hinder_no_other_stage(
    clone: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, source: dict
) -> None:
    """One such dataset made the whole small config invalid, and all stages of the project unproven."""
    mine = clone / "mine"
    rows = ROWS.replace("PART", "sharegpt_processing_function")
    for name, text in (
        ("models/theirs", MODEL),
        ("datasets/rows", rows),
        ("datasets/others", dataset),
        ("runs/tuned", RUN),
    ):
        file = mine / "config" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.chdir(mine)
    write_small(clone, needed_files(["tuned", "others"]))
    monkeypatch.chdir(clone)
    assert source.items() <= load_project(clone, None).datasets["others"].raw["source"].items()
