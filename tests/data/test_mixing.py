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


def test_what_the_parts_do_to_each_other_is_told(process, write_jsonl, mix, parts, tmp_path):
    """One trains on what the other one asks; and one is so rare that the other is repeated without end."""
    for split in ("train", "test"):
        rows = [{"source": f"{split} {n}", "target": "x"} for n in range(5)]
        write_jsonl(rows, f"asks/{split}.jsonl")
    write_jsonl([{"source": f" test  {n}", "target": "x"} for n in range(3, 10)], "knows/train.jsonl")
    for name in ("asks", "knows"):
        keys = {"processing_function": "seq2seq_processing_function", "name": f"processed/{name}"}
        parts[name], _ = process(tmp_path / name, **keys)
    ended = mix(datasets={"asks": 1, "knows": 1})
    assert "2 of 5 rows of the test split of mixed have a prompt that its train split trains on" in ended.stderr
    assert json.loads((tmp_path / "mixed.json").read_text())["test"]["rows_with_a_trained_prompt"] == 2
    ended = mix(datasets={"asks": 1}, output="alone")
    assert ended.returncode == 0 and "warning" not in ended.stderr

    ended = mix(datasets={"asks": 1, "knows": 0.01}, output="rare")
    assert "mixture.datasets.asks: its 5 rows are repeated 140 times" in ended.stderr


def test_keys_of_prompts_follow_the_drawn_rows(process, write_jsonl, mix, parts, tmp_path):
    """Of a part that is not used up, only the drawn rows count as trained on."""
    from heirloom.data.seen_prompts import read_keys

    ended = mix(datasets={"many": 1, "few": 1}, stopping_strategy="first_exhausted")
    assert ended.returncode == 0, ended.stderr
    keys = read_keys(tmp_path / "mixed", "train")
    rows = [tuple(row["input_ids"]) for row in datasets.load_from_disk(str(tmp_path / "mixed/train"))]
    of_row = {
        tuple(row["input_ids"]): int(key)
        for name in ("many", "few")
        for row, (_, key) in zip(
            datasets.load_from_disk(str(parts[name] / "train")), read_keys(parts[name], "train"), strict=True
        )
    }
    assert keys[:, 0].tolist() == list(range(40)) and [of_row[row] for row in rows] == keys[:, 1].tolist()
