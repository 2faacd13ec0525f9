"""Prompts of another dataset that the chain behind a model trained on are told where they are answered."""

import json

import numpy as np
import pytest

from heirloom.inference.chain_prompts import tell_prompts_of_chain


def dataset(folder, **keys):
    folder.mkdir()
    splits = {split: {"sha256": f"{folder.name} {split}"} for split in keys}
    (folder / "dataset.json").write_text(json.dumps({"kind": "chat", "splits": splits}))
    for split, values in keys.items():
        rows = np.array(list(enumerate(values)), dtype=np.uint64)
        np.save(folder / f"{split}-prompts.npy", rows)
    return {"name": folder.name, "hub": [], "splits": splits}


@pytest.fixture
def model(tmp_path):
    """A model whose base trained on `first`, itself on `second`; `asked` has four prompts, one of each, two new."""
    first, second = dataset(tmp_path / "first", train=[1, 2]), dataset(tmp_path / "second", train=[3], test=[9])
    dataset(tmp_path / "asked", train=[8], test=[2, 3, 4, 5])
    folder = tmp_path / "model"
    folder.mkdir()
    facts = {"lineage": [{"name": "root"}, {"name": "base", "dataset": first}], "dataset": second}
    (folder / "heirloom.json").write_text(json.dumps(facts))
    return folder


def test_prompts_that_the_chain_trained_on_are_told(model, tmp_path, capsys):
    tell_prompts_of_chain(tmp_path / "asked", model)
    told = capsys.readouterr().err
    for name in ("first", "second"):
        assert f"1 of 4 rows of the test split of asked have a prompt that {name} trains on as well" in told
    tell_prompts_of_chain(tmp_path / "second", model)
    assert capsys.readouterr().err == ""


def test_what_cannot_be_compared_is_named(model, tmp_path, capsys):
    facts = json.loads((tmp_path / "first/dataset.json").read_text())
    facts["splits"]["train"]["sha256"] = "of later rows"
    (tmp_path / "first/dataset.json").write_text(json.dumps(facts))
    (tmp_path / "second/train-prompts.npy").unlink()
    tell_prompts_of_chain(tmp_path / "asked", model)
    told = capsys.readouterr().err
    assert "what first trained on is not known" in told and "what second trained on is not known" in told
