"""Unchanged files come from the cache; whatever happens to it, the answer is that of a fresh reading."""

import json
import os
from pathlib import Path

import pytest

from heirloom.config import files


@pytest.fixture
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def parsed(monkeypatch) -> list[str]:
    """The files that were really parsed, in order."""
    paths: list[str] = []
    really = files.checked

    def noting(content: bytes, path: str, model: type) -> dict:
        paths.append(path)
        return really(content, path, model)

    monkeypatch.setattr(files, "checked", noting)
    return paths


def dumped(project) -> dict:
    kinds = {"datasets": project.datasets, "models": project.models, "runs": project.runs}
    return {
        kind: {name: (file.model_dump(), file.raw, file.path, file.model_fields_set) for name, file in named.items()}
        for kind, named in kinds.items()
    }


def test_only_changed_files_are_parsed_again(workplace, cache, parsed):
    fresh = dumped(workplace.load(cache))
    assert len(parsed) == 10
    parsed.clear()
    assert dumped(workplace.load(cache)) == fresh == dumped(workplace.load(None))
    assert len(parsed) == 10  # those of the load without a cache

    parsed.clear()
    for file in (workplace.root / "config").rglob("*.yaml"):
        os.utime(file, (1, 1))
    workplace.change("config/runs/sft.yaml", "1e-4", "2e-4")
    assert workplace.load(cache).runs["sft"].raw["training"]["learning_rate"] == 0.0002
    assert parsed == ["config/runs/sft.yaml"]


def test_mistakes_come_from_the_cache_too(workplace, cache, parsed):
    workplace.change("config/runs/sft.yaml", "learning_rate", "learnin_rate")
    workplace.write("config/runs/x.yaml", "a: [")
    mistakes = workplace.mistakes(cache)
    parsed.clear()
    assert workplace.mistakes(cache) == mistakes
    assert len(mistakes) == 2
    assert parsed == []


def test_files_outside_config_are_looked_at_each_time(workplace, cache):
    workplace.load(cache)
    (workplace.root / "data/mine.jsonl").unlink()
    assert len(workplace.mistakes(cache)) == 1


def test_a_deleted_file_is_gone(workplace, cache):
    workplace.load(cache)
    (workplace.root / "config/runs/dpo.yaml").unlink()
    assert set(workplace.load(cache).runs) == {"pretrain", "sft"}
    assert "config/runs/dpo.yaml" not in (cache / "config.json").read_text()


def damaged(content: bytes) -> list[bytes]:
    """Return what a crash, a full disk or a curious hand can leave."""
    seal, _, payload = content.partition(b"\n")
    stored = json.loads(payload)
    stored["config/runs/sft.yaml"]["value"]["training"]["learning_rate"] = 1.0
    swapped = json.dumps(stored).encode()
    return [
        b"",
        b"\xff\xfe\x00",
        content[: len(content) // 2],
        content[:-1],
        seal,
        payload,
        seal + b"\n" + swapped,
        b"[]\n{}",
    ]


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_cache_does_no_harm(workplace, cache, number: int):
    fresh = dumped(workplace.load(cache))
    file = cache / "config.json"
    file.write_bytes(damaged(file.read_bytes())[number])
    assert dumped(workplace.load(cache)) == fresh
    assert dumped(workplace.load(cache)) == fresh


def test_the_cache_ends_when_the_code_changes(workplace, cache, parsed, monkeypatch, tmp_path_factory):
    workplace.load(cache)
    parsed.clear()
    schemas = tmp_path_factory.mktemp("schemas")
    (schemas / "sft.json").write_text('{"properties": {}}')
    monkeypatch.setattr(files, "SCHEMAS", schemas)
    workplace.load(cache)
    assert len(parsed) == 10


def test_values_that_json_cannot_hold_are_read_afresh(workplace, cache, parsed):
    workplace.change(
        "config/models/tiny.yaml",
        "hidden_size: 96",
        "hidden_size: 96, rope_parameters: {made: 2026-01-02}",
    )
    fresh = dumped(workplace.load(cache))
    parsed.clear()
    assert dumped(workplace.load(cache)) == fresh
    assert parsed == ["config/models/tiny.yaml"]


def test_a_folder_that_cannot_be_written_means_no_cache(workplace, tmp_path):
    (tmp_path / "file").write_text("")
    assert set(workplace.load(tmp_path / "file" / "cache").runs) == {"pretrain", "sft", "dpo"}


def test_nothing_else_is_left_in_the_folder(workplace, cache):
    workplace.load(cache)
    workplace.change("config/runs/sft.yaml", "1e-4", "2e-4")
    workplace.load(cache)
    assert [file.name for file in cache.iterdir()] == ["config.json"]
