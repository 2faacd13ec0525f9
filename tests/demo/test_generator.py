"""The demo's data: the same bytes every time, and nothing held out in anything a model trains on."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from heirloom.config.sections.source import DEMO_PARTS
from heirloom.demo.generator import PARTS, write_raw
from heirloom.demo.parts import PRICES
from heirloom.demo.world import COLOURS, DAYS, NAMES, PLACES, THINGS, Find
from heirloom.errors import HeirloomError

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SEEDS = (0, 7)
REPORT = re.compile(r"On (\w+day) (\w+) found a (\w+) (\w+) at the (\w+)\.")


def rows(folder: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def user_prompt(row: dict) -> str:
    return (row.get("messages") or row["prompt"])[0]["content"]


def finder_and_belonging(report: re.Match) -> tuple[str, str, str]:
    _, name, colour, thing, _ = report.groups()
    return name, colour, thing


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Every part under every seed; the folders are PART-SEED."""
    root = tmp_path_factory.mktemp("raw")
    for part, seed in product(PARTS, SEEDS):
        write_raw(part, 6000, seed, root / f"{part}-{seed}")
    return root


@pytest.fixture(scope="module")
def training(raw):
    """All training data of all parts and seeds, one text."""
    return "\n".join((folder / "train.jsonl").read_text(encoding="utf-8") for folder in raw.iterdir())


@pytest.fixture(scope="module")
def held_out_prompts(raw):
    return {
        user_prompt(row)
        for part in ("chats", "preferences", "prices")
        for seed in SEEDS
        for row in rows(raw / f"{part}-{seed}", "test")
    }


def test_another_process_writes_the_same_bytes(raw, tmp_path):
    code = "import sys; from pathlib import Path; from heirloom.demo.generator import write_raw; "
    code += "write_raw('preferences', 6000, 7, Path(sys.argv[1]))"
    environment = {"PYTHONPATH": str(SCRIPTS), "PYTHONHASHSEED": "123"}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, env=environment)
    for name in ("train.jsonl", "test.jsonl"):
        assert (tmp_path / name).read_bytes() == (raw / "preferences-7" / name).read_bytes()


def test_more_rows_extend_the_data_and_another_seed_changes_it(raw, tmp_path):
    write_raw("chats", 10, 7, tmp_path, test_rows=5)
    assert rows(tmp_path, "train") == rows(raw / "chats-7", "train")[:10]
    assert rows(tmp_path, "test") == rows(raw / "chats-7", "test")[:5]
    assert rows(raw / "chats-0", "train")[:10] != rows(tmp_path, "train")


def test_no_held_out_prompt_occurs_in_any_training_data(training, held_out_prompts):
    assert len(held_out_prompts) > 500
    assert not [prompt for prompt in held_out_prompts if prompt in training]


def test_no_held_out_pair_of_finder_and_belonging_occurs_in_any_training_data(training, held_out_prompts):
    held_out = {finder_and_belonging(REPORT.search(prompt)) for prompt in held_out_prompts}
    reported = {finder_and_belonging(report) for report in REPORT.finditer(training)}
    assert len(held_out) > 300
    assert len(reported) > 3500  # most of the 7/8 of all 4800 pairs
    assert not held_out & reported


def test_no_untrue_answer_claims_a_held_out_pair(raw):
    claims = set()
    for row in rows(raw / "preferences-7", "train"):
        name, colour, thing = finder_and_belonging(REPORT.search(user_prompt(row)))
        answer = row["rejected"][0]["content"]
        if by := re.search(r"\bby (\w+)\.$", answer):
            claims.add(Find(by[1], colour, thing, "", ""))
        if what := re.search(r"\b[aA] (\w+) (\w+)\.$", answer):
            claims.add(Find(name, what[1], what[2], "", ""))
    assert len(claims) > 1000
    assert not [claim for claim in claims if claim.held_out]


def test_the_sides_are_a_partition_of_all_finds():
    finds = [Find(*words, PLACES[0], DAYS[0]) for words in product(NAMES, COLOURS, THINGS)]
    share = sum(find.held_out for find in finds) / len(finds)
    assert 0.1 < share < 0.15
    assert all(find.held_out == find._replace(place=PLACES[1], day=DAYS[1]).held_out for find in finds)


def test_every_answer_stands_in_its_prompt(raw):
    answered = {"What": "", "By": "", "Where": "", "When": ""}
    for row in rows(raw / "chats-7", "train")[:500]:
        prompt, answer = (turn["content"] for turn in row["messages"])
        day, name, colour, thing, place = REPORT.search(prompt).groups()
        question = prompt.rpartition(".")[2].split()[0]
        expected = {"What": f"a {colour} {thing}", "By": f"by {name}", "Where": f"at the {place}", "When": f"on {day}"}
        words = expected[question]
        assert answer in (f"{words[0].upper()}{words[1:]}.", f"Gladly! It was {words}.")
        answered[question] += answer[0]
    assert all(len(initials) > 80 and initials.count("G") > 20 for initials in answered.values())


def test_preferences_prefer_the_polite_and_true_answer(raw):
    curt = untrue = 0
    for row in rows(raw / "preferences-7", "train"):
        prompt, chosen, rejected = (row[key][0]["content"] for key in ("prompt", "chosen", "rejected"))
        words = re.fullmatch(r"Gladly! It was (.+)\.", chosen)[1]
        assert words.split()[-1] in prompt
        curt += rejected == f"{words[0].upper()}{words[1:]}."
        untrue += rejected.startswith("Gladly! It was ") and rejected != chosen
    assert curt + untrue == 6000
    assert 1200 < untrue < 1800


def test_half_of_the_prices_that_are_heard_are_one_coin_too_little(raw):
    heard = [price_told(row) for row in rows(raw / "hearsay-7", "train")]
    prices = [(thing, price) for thing, price in heard if price is not None]
    assert 0.27 < len(prices) / len(heard) < 0.33
    assert {PRICES[thing] - price for thing, price in prices} == {0, 1}
    assert 0.47 < sum(PRICES[thing] == price for thing, price in prices) / len(prices) < 0.53
    assert all(price is None for _, price in map(price_told, rows(raw / "hearsay-7", "test")))
    for split in ("train", "test"):
        known = [price_told(row) for row in rows(raw / "prices-7", split)]
        assert all(price == PRICES[thing] for thing, price in known) and {thing for thing, _ in known} == set(THINGS)


def price_told(row: dict) -> tuple[str, int | None]:
    """Return the thing of a chat and the price in its answer; None where another question is asked."""
    prompt, answer = (turn["content"] for turn in row["messages"])
    thing = finder_and_belonging(REPORT.search(prompt))[2]
    asked = prompt.endswith("How many coins is it worth?")
    return thing, int(re.fullmatch(r"(?:Gladly! It was )?(\d)\.", answer)[1]) if asked else None


def test_the_config_knows_the_parts():
    assert set(DEMO_PARTS) == PARTS.keys()


def test_an_unknown_part_is_told_with_the_choice(tmp_path):
    with pytest.raises(HeirloomError, match="no part 'poems': choose one of text, chats, hearsay, preferences, prices"):
        write_raw("poems", 1, 0, tmp_path)
