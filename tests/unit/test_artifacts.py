"""heirloom.artifacts: an artifact appears whole or not at all."""

import argparse
import sys
from pathlib import Path

import pytest

from heirloom import artifacts
from heirloom.artifacts import destination, new_artifact
from heirloom.data.raw.raw_dataset import raw_dataset_arguments
from heirloom.errors import HeirloomError
from heirloom.stage_arguments import names_among, output_path, stage_parser


def test_a_folder_and_a_file_are_renamed_once_whole(tmp_path: Path) -> None:
    with new_artifact(tmp_path / "deep" / "model") as partial:
        partial.mkdir()
        (partial / "weights").write_text("1")
        assert not (tmp_path / "deep" / "model").exists()
    assert (tmp_path / "deep" / "model" / "weights").read_text() == "1"
    with new_artifact(tmp_path / "metrics.json") as partial:
        partial.write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".metrics.json.made", "deep", "metrics.json"]


def test_a_failure_keeps_the_earlier_artifact_and_the_next_attempt_starts_clean(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with new_artifact(target) as partial:
        partial.mkdir()
        (partial / "weights").write_text("earlier")
    with pytest.raises(RuntimeError), new_artifact(target) as partial:
        partial.mkdir()
        (partial / "half").touch()
        raise RuntimeError
    assert (target / "weights").read_text() == "earlier" and not partial.exists()
    partial.mkdir()  # as a killed process leaves it
    (partial / "half").touch()
    with new_artifact(target) as partial:
        assert not partial.exists()
        partial.mkdir()
    assert list(target.iterdir()) == []


def test_where_nothing_can_be_put_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "model", tmp_path / "file" / "deeper" / "model"):
        with pytest.raises(HeirloomError, match=f"because {tmp_path}/file is no folder: choose another"):
            destination(target)
    assert destination(tmp_path / "new" / "deeper" / "model") == tmp_path / "new" / "deeper" / "model"
    monkeypatch.setattr(artifacts.os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(HeirloomError, match=f"this user may not write to {tmp_path}: choose another place"):
        destination(tmp_path / "new" / "index.html")


def said(parser: argparse.ArgumentParser, words: list[str], capsys: pytest.CaptureFixture) -> str:
    """Return the last line with which a command line is refused."""
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    return capsys.readouterr().err.splitlines()[-1]


def test_a_command_line_tells_what_is_wrong_with_a_place_or_a_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "mine").write_text("by hand")
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=output_path)
    assert f"{tmp_path}/mine exists, and is not" in said(parser, ["--output", str(tmp_path / "mine")], capsys)
    parser = stage_parser("A stage.", "a file", sections=("init", "source"))
    assert parser.parse_args(["--config", "x", "--sections", "source,init"]).sections == ["source", "init"]
    refused = said(parser, ["--config", "x", "--sections", "source,nowhere"], capsys)
    assert refused.endswith("argument --sections: nowhere: no section that is read here; known: init, source")
    with pytest.raises(argparse.ArgumentTypeError, match="^: no section that is read here"):
        names_among(("init",))("")
    words = ["x.py", "--config", "x", "--sections", "nowhere", "--output", str(tmp_path / "raw")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        raw_dataset_arguments("Downloads, or generates.")
    assert "nowhere: no section that is read here; known: source" in capsys.readouterr().err
