"""heirloom.artifacts: an artifact appears whole or not at all."""

from pathlib import Path

import pytest

from heirloom.artifacts import new_artifact


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
