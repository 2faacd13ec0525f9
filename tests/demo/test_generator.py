"""The demo's data: the same bytes every time, and no held-out fact or prompt in anything a model trains on."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from heirloom.demo.generator import PARTS, write_raw
from heirloom.demo.world import COLOURS, NAMES, THINGS, Fact
from heirloom.errors import HeirloomError

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SEEDS = (0, 7)


def rows(folder: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Every part under every seed; the folders are PART-SEED."""
    root = tmp_path_factory.mktemp("raw")
    for part, seed in product(PARTS, SEEDS):
        write_raw(part, 3000, seed, root / f"{part}-{seed}")
    return root


def test_another_process_writes_the_same_bytes(raw, tmp_path):
    code = "import sys; from pathlib import Path; from heirloom.demo.generator import write_raw; "
    code += "write_raw('preferences', 3000, 7, Path(sys.argv[1]))"
    environment = {"PYTHONPATH": str(SCRIPTS), "PYTHONHASHSEED": "123"}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, env=environment)
    for name in ("train.jsonl", "test.jsonl"):
        assert (tmp_path / name).read_bytes() == (raw / "preferences-7" / name).read_bytes()


def test_more_rows_extend_the_data_and_another_seed_changes_it(raw, tmp_path):
    write_raw("chats", 10, 7, tmp_path, test_rows=5)
    assert rows(tmp_path, "train") == rows(raw / "chats-7", "train")[:10]
    assert rows(tmp_path, "test") == rows(raw / "chats-7", "test")[:5]
    assert rows(raw / "chats-0", "train")[:10] != rows(tmp_path, "train")


def user_prompt(row: dict) -> str:
    return (row.get("messages") or row["prompt"])[0]["content"]


def test_no_held_out_prompt_or_fact_occurs_in_any_training_data(raw):
    training = "\n".join((folder / "train.jsonl").read_text(encoding="utf-8") for folder in raw.iterdir())
    prompts = {
        user_prompt(row) for folder in raw.iterdir() if "text" not in folder.name for row in rows(folder, "test")
    }
    assert len(prompts) > 500
    assert not [prompt for prompt in prompts if prompt in training]

    held_out = {sentence for prompt in prompts for sentence in re.findall(r"\w+ has a \w+ \w+\.", prompt)}
    assert len(held_out) > 300
    assert not [sentence for sentence in held_out if sentence in training]
    # in any wording: no two of a held-out fact's words meet with the third in one sentence of training
    belongings = {(fact[0], f"{fact[3]} {fact[4]}") for fact in (s.removesuffix(".").split() for s in held_out)}
    told = set(re.findall(r"(\w+) (?:has a|plays with the|loves the|dreams of the) (\w+ \w+)", training))
    told |= {(name, owned) for owned, name in re.findall(r"The (\w+ \w+) belongs to (\w+)", training)}
    assert len(told) > 3000
    assert not told & belongings


def test_the_sides_are_a_partition_of_all_facts():
    facts = [Fact(*words) for words in product(NAMES, COLOURS, THINGS)]
    share = sum(fact.held_out for fact in facts) / len(facts)
    assert 0.1 < share < 0.15


def test_every_answer_is_in_its_prompt_and_unambiguous(raw):
    for row in rows(raw / "chats-7", "train")[:500]:
        prompt, answer = (turn["content"] for turn in row["messages"])
        name = re.search(r"What does (\w+) have\?", prompt)[1]
        owned = re.search(r"\b[aA] (\w+ \w+)\.$", answer)[1]
        facts = dict(re.findall(r"(\w+) has a (\w+ \w+)\.", prompt))
        assert facts[name] == owned
        assert len(set(facts.values())) == len(facts) >= 3


def test_preferences_prefer_the_polite_and_true_answer(raw):
    curt = untrue = 0
    for row in rows(raw / "preferences-7", "train"):
        prompt, chosen, rejected = (row[key][0]["content"] for key in ("prompt", "chosen", "rejected"))
        name, owned = re.fullmatch(r"Gladly! (\w+) has a (\w+ \w+)\.", chosen).groups()
        assert f"{name} has a {owned}." in prompt
        curt += rejected == f"A {owned}."
        untrue += rejected.startswith("Gladly!") and owned not in rejected
    assert curt + untrue == 3000
    assert 400 < untrue < 1000


def test_an_unknown_part_is_told_with_the_choice(tmp_path):
    with pytest.raises(HeirloomError, match="no part 'poems': choose one of text, chats, preferences"):
        write_raw("poems", 1, 0, tmp_path)
