"""Rows with the same prompt never stand on two sides, and where they do by the user's will, it is told."""

import chat_templates
import datasets
import numpy as np
import pytest
from tokenizers import Tokenizer

from heirloom.data.rows.prompt_keys import SLICE, prompt_key, prompt_keys
from heirloom.data.seen_prompts import asked, seen_rows
from heirloom.data.test_splits import TestSplit

CHAT, PAIRS, TEXT = "dummy_processing_function", "dummy_rlhf_processing_function", "plain_text_processing_function"


def chat(question, reply, **extras):
    return {"messages": [{"role": "user", "content": question, **extras}, {"role": "assistant", "content": reply}]}


def split_of(process, raw, **keys):
    """Return the rows of both sides of a drawn test split, and what the statistics say of the test split."""
    folder, statistics = process(raw, **keys)
    return {name: list(datasets.load_from_disk(str(folder / name))) for name in ("train", "test")}, statistics["test"]


@pytest.fixture
def templates(tmp_path):
    for name in ("LLAMA3", "CHATML"):
        (tmp_path / f"{name}.jinja").write_text(getattr(chat_templates, name), encoding="utf-8")
    return lambda name: str(tmp_path / f"{name}.jinja")


@pytest.mark.parametrize("template", ["LLAMA3", "CHATML"])  # one trims contents, one does not
@pytest.mark.parametrize(
    "row",
    [
        lambda n: chat(f"q{n % 10}", f"answer {n}", id=n),
        lambda n: chat(f"q{n % 10}", f"answer {n}", turn_identifier=n, timestamp=f"2024-01-01 00:{n:02d}"),
        lambda n: chat(f"q{n % 10}" + " " * (n % 3), f"answer {n}"),
        lambda n: chat(f"q\u3000{n % 10}\n" if n % 2 else f"q {n % 10}", f"answer {n}"),
        # the same conversation up to another turn: what the longer one trains on is what the shorter one asks
        lambda n: {"messages": chat(f"q{n % 10}", "a")["messages"] + chat(f"more {n}", "b")["messages"] * (n % 3)},
    ],
    ids=["ids", "times", "outer spaces", "inner spaces", "continued"],
)
def test_equal_prompts_stand_on_one_side(process, write_jsonl, tokenizer_folder, templates, template, row):
    raw = write_jsonl([row(n) for n in range(100)])
    rows, counts = split_of(process, raw, processing_function=CHAT, test_rows=10, chat_template=templates(template))
    assert 10 <= len(rows["test"]) <= 30 and "rows_with_a_trained_prompt" not in counts
    core = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    prompts = tuple({"".join(row["prompt"].split()) for row in rows["test"]})
    trained = ["".join(core.decode(row["input_ids"], skip_special_tokens=False).split()) for row in rows["train"]]
    assert prompts and trained and [text for text in trained if text.startswith(prompts)] == []


def test_pairs_without_a_prompt_are_held_out_by_their_question(process, write_jsonl):
    rows = []
    for n in range(60):
        asked_text = f"\n\nHuman: Question {n}?\n\nAssistant:"
        rows.append({"chosen": f"{asked_text} I am A", "rejected": f"{asked_text} I am B"})
        rows.append({"chosen": f"{asked_text} Yes", "rejected": f"{asked_text} No"})
    sides, _ = split_of(process, write_jsonl(rows), processing_function=PAIRS, test_rows=20)
    questions = {
        "test": {row["prompt"].split("?")[0] for row in sides["test"]},
        "all": {row["chosen"].split("?")[0] for row in rows},
    }
    assert len(sides["test"]) == 20 and len(questions["test"]) == 10 and questions["test"] < questions["all"]


def test_equal_texts_stand_on_one_side(process, write_jsonl, tokenizer_folder):
    raw = write_jsonl([{"text": f"text {n % 10}" + " " * (n % 2)} for n in range(40)])
    sides, _ = split_of(process, raw, processing_function=TEXT, test_rows=4)
    core = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    texts = {side: {core.decode(row["input_ids"]).strip() for row in rows} for side, rows in sides.items()}
    assert len(sides["test"]) == 4 and len(texts["test"]) == 1 and len(texts["train"]) == 9


def test_a_test_split_that_is_trained_on_is_told(process, write_jsonl, templates, tmp_path, capsys):
    write_jsonl([chat(f"q{n}", "yes", id=n) for n in range(20)], "raw/train.jsonl")
    write_jsonl([chat(f"q{n} ", "no") for n in range(15, 25)], "raw/test.jsonl")
    keys = {"processing_function": CHAT, "chat_template": templates("LLAMA3")}
    _, statistics = process(tmp_path / "raw", **keys)
    assert statistics["test"]["rows_with_a_trained_prompt"] == 5
    assert "5 of 10 rows of the test split have a prompt that its train split trains on as well" in (
        capsys.readouterr().err
    )
    write_jsonl([chat(f"q{n} ", "no") for n in range(20, 25)], "raw/test.jsonl")
    _, statistics = process(tmp_path / "raw", name="apart", **keys)
    assert "rows_with_a_trained_prompt" not in statistics["test"]
    assert "trains on as well" not in capsys.readouterr().err


def test_groups_join_what_one_row_asks_and_another_trains_on():
    split = TestSplit(0)
    for keys in ([5], None, [3, 9], [9], [9, 4], [7], [7]):
        split.add(keys)
    assert split.groups().tolist() == [5, 4, 4, 4, 7, 7]  # 9 is asked by one, and trained on by two
    held_out = split.draw(1, None)
    assert held_out.dtype == bool and len(held_out) == 7 and not held_out[1]
    assert held_out[2] == held_out[3] == held_out[4] and held_out[5] == held_out[6]
    assert TestSplit(0).draw(3, None).tolist() == []


def test_keys_know_no_white_space_and_are_those_of_the_beginnings():
    text = "one two\n" * SLICE
    ends = [0, 7, SLICE, SLICE + 1, len(text)]
    assert list(prompt_keys(text, ends)) == [prompt_key(text[:end]) for end in ends]
    assert prompt_key(" o\tne\u3000two\u00a0") == prompt_key("onetwo") != prompt_key("one to")


def test_the_last_prompt_of_a_row_is_asked():
    keys = np.array([[0, 7], [0, 8], [1, 7], [2, 9]], dtype=np.uint64)
    assert asked(keys)[:, 1].tolist() == [8, 7, 9]
    assert seen_rows(keys, np.array([[0, 7], [0, 9]], dtype=np.uint64)).tolist() == [1, 2]
