"""Mixtures: shares, determinism, and refusals."""

import json
from collections import Counter

import datasets
import pytest

from heirloom.content_hashes import content_hash

TEXT = "plain_text_processing_function"


@pytest.fixture
def parts(process, write_jsonl, tmp_path):
    """Two processed datasets, of 90 and 20 rows, the first with a test split."""
    folders = {}
    for name, count in (("many", 90), ("few", 20)):
        write_jsonl([{"text": f"{name} {n}"} for n in range(count)], f"{name}/train.jsonl")
    write_jsonl([{"text": "held out"}], "many/test.jsonl")
    for name in ("many", "few"):
        folders[name], _ = process(tmp_path / name, name=f"processed/{name}", processing_function=TEXT)
    return folders


@pytest.fixture
def mix(parts, run_script, tmp_path):
    """Return a function that mixes the parts with create_dataset.py."""

    def run(output="mixed", **section):
        (tmp_path / "c.yaml").write_text(json.dumps({"mixture": section}))
        given = [f"{name}={folder}" for name, folder in parts.items()]
        flags = ("--config", "c.yaml", "--sections", "mixture", "--datasets", *given, "--output", output)
        return run_script("create_dataset.py", *flags, "--statistics", f"{output}.json")

    return run


def test_shares_repetition_and_order(mix, parts, tmp_path):
    ended = mix(datasets={"many": 3, "few": 1}, stopping_strategy="first_exhausted")
    assert ended.returncode == 0, ended.stderr
    counts = json.loads((tmp_path / "mixed.json").read_text())
    assert counts["train"]["rows_from"] == {"many": 60, "few": 20} and counts["test"]["rows_from"] == {"many": 1}
    rows = [tuple(row["input_ids"]) for row in datasets.load_from_disk(str(tmp_path / "mixed/train"))]
    assert len(set(rows)) == 80
    few = {tuple(row["input_ids"]) for row in datasets.load_from_disk(str(parts["few"] / "train"))}
    places = [place for place, row in enumerate(rows) if row in few]
    assert len(places) == 20 and places[0] < 20 and places[-1] > 60  # mixed, not joined

    ended = mix(output="all", datasets={"many": 1, "few": 1}, stopping_strategy="all_exhausted")
    rows = Counter(tuple(row["input_ids"]) for row in datasets.load_from_disk(str(tmp_path / "all/train")))
    assert {rows[row] for row in few} == {4, 5} and sum(rows.values()) == 180

    mix(output="again", datasets={"many": 3, "few": 1}, stopping_strategy="first_exhausted")
    same = [(tmp_path / name / "train/data-00000-of-00001.arrow").read_bytes() for name in ("mixed", "again")]
    assert same[0] == same[1]
    facts = json.loads((tmp_path / "mixed/dataset.json").read_text())
    assert facts["kind"] == "text" and facts["splits"]["train"]["rows"] == 80 and facts["hub"] == []
    assert facts["splits"]["train"]["sha256"] == content_hash((tmp_path / "mixed/train").glob("*.arrow"))


def test_parts_that_do_not_go_together_are_refused(mix, parts, tmp_path):
    file = parts["few"] / "dataset.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "max_length": 7}))
    ended = mix(datasets={"many": 1, "few": 1})
    assert ended.returncode == 1 and "many and few differ in max_length: 512 and 7" in ended.stderr
    ended = mix(datasets={"many": 1, "other": 1})
    assert "no folder is given for other" in ended.stderr
