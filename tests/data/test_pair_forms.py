"""Preference pairs in the forms of TRL, UltraFeedback-binarized, HH-RLHF and LLaMA-Factory."""

import chat_templates
import datasets
import pytest
from trained_spans import assistant, user

from heirloom.data.rows.preference_pairs import pair_of, up_to_turn
from heirloom.data.rows.processing import dummy_rlhf_processing_function, sharegpt_rlhf_processing_function
from heirloom.errors import HeirloomError

Q, GOOD, BAD = user("Which?"), assistant("this"), assistant("that")
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": [Q], "chosen": [GOOD], "rejected": [BAD]}, [Q]),
        ({"chosen": [Q, GOOD], "rejected": [Q, BAD]}, [Q]),
        ({"prompt": "Which?", "chosen": [Q, GOOD], "rejected": [Q, BAD]}, [Q]),
        ({"prompt": "Which?", "chosen": [SYSTEM, Q, GOOD], "rejected": [SYSTEM, Q, BAD]}, [SYSTEM, Q]),
        ({"prompt": "Which?", "chosen": [GOOD], "rejected": [BAD]}, [Q]),
        ({"prompt": [Q], "chosen": [Q, GOOD], "rejected": [Q, BAD]}, [Q]),
        ({"prompt": [Q], "chosen": "this", "rejected": "that"}, [Q]),
        ({"prompt": [Q], "chosen": GOOD, "rejected": BAD}, [Q]),
        ({"chosen_messages": [Q, GOOD], "rejected_messages": [Q, BAD]}, [Q]),
        ({"instruction": "Which?", "input": "", "chosen": "this", "rejected": "that"}, [Q]),
        ({"instruction": "Which?", "system": "Be brief.", "chosen": "this", "rejected": "that"}, [SYSTEM, Q]),
    ],
    ids=[*"ABCDEFGHIJK"],
)
def test_chats_in_every_form_are_the_same_pair(row, prompt):
    pair = pair_of(dummy_rlhf_processing_function(row))
    assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, [GOOD], [BAD])


def test_sharegpt_pairs_with_and_without_conversations():
    turns = [{"from": "human", "value": "Which?"}]
    good, bad = {"from": "gpt", "value": "this"}, {"from": "gpt", "value": "that"}
    for row in (
        {"conversations": turns, "chosen": good, "rejected": bad},
        {"conversations": turns, "chosen": [good], "rejected": [bad]},
        {"chosen": [*turns, good], "rejected": [*turns, bad]},
    ):
        pair = pair_of(sharegpt_rlhf_processing_function(row))
        assert (pair.prompt, pair.chosen, pair.rejected) == ([Q], [GOOD], [BAD])


def test_a_text_prompt_that_answers_repeat_is_the_prompt():
    pair = pair_of(
        {
            "prompt": "Human: q\n\nAssistant:",
            "chosen": "Human: q\n\nAssistant: a",
            "rejected": "Human: q\n\nAssistant: b",
        }
    )
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Human: q\n\nAssistant:", " a", " b")
    with pytest.raises(ValueError, match="does not stand at the start"):
        pair_of({"prompt": "Other?", "chosen": [Q, GOOD], "rejected": [Q, BAD]})


ASKED = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: q\n\nAssistant:"


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": ASKED, "rejected": f"{ASKED} no"},  # as some rows of HH-RLHF
        {"chosen": f"{ASKED} yes", "rejected": f"{ASKED} \n"},
        {"prompt": "q", "chosen": " ", "rejected": "no"},
        {"prompt": [Q], "chosen": [assistant("")], "rejected": [BAD]},
        {"chosen": [Q, GOOD], "rejected": [Q, assistant(" ")]},
        {"prompt": "Which?", "chosen": [Q, assistant("")], "rejected": [Q, BAD]},
    ],
    ids=[*"ABCDEF"],
)
def test_an_answer_that_says_nothing_is_a_bad_row(process, write_jsonl, tmp_path, row):
    (tmp_path / "t.jinja").write_text(chat_templates.LLAMA3, encoding="utf-8")
    keys = {"processing_function": "dummy_rlhf_processing_function", "chat_template": str(tmp_path / "t.jinja")}
    with pytest.raises(HeirloomError, match="1 of 1 raw rows.*\n.*chosen or rejected answer is empty"):
        process(write_jsonl([row]), **keys)


def test_prompts_of_texts_end_where_a_turn_ends():
    assert up_to_turn("\n\nHuman: q\n\nAssistant: I'") == "\n\nHuman: q\n\nAssistant:"
    assert up_to_turn("### Instruction:\nq\n\n### Response:\nThe ") == "### Instruction:\nq\n\n### Response:"
    assert up_to_turn("A spider has ") == "A spider has "


def test_a_test_split_asks_with_whole_turns_and_trains_with_trls_ids(process, write_jsonl, tmp_path):
    rows = [{"chosen": "\n\nHuman: Hi\n\nAssistant: I do", "rejected": "\n\nHuman: Hi\n\nAssistant: I don't"}]
    write_jsonl(rows, "raw/train.jsonl")
    write_jsonl(rows, "raw/test.jsonl")
    folder, _ = process(tmp_path / "raw", processing_function="dummy_rlhf_processing_function")
    (row,) = datasets.load_from_disk(str(folder / "test"))
    assert row["prompt"].endswith("Assistant:") and row["reference"] == row["chosen"] == " I do"
    (train,) = datasets.load_from_disk(str(folder / "train"))
    assert len(row["prompt_ids"]) < len(train["prompt_ids"])
    assert row["prompt_ids"] + row["chosen_ids"] == train["prompt_ids"] + train["chosen_ids"]


def test_pairs_with_nothing_to_prefer_are_counted_and_dropped(process, write_jsonl, tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text(chat_templates.LLAMA3, encoding="utf-8")
    settings = {"processing_function": "dummy_rlhf_processing_function", "chat_template": str(file)}
    same = [
        {"prompt": [Q], "chosen": [GOOD], "rejected": [GOOD]},
        {"chosen": [Q, GOOD], "rejected": [Q, GOOD]},
        {"prompt": [Q], "chosen": [GOOD], "rejected": [assistant("this ")]},  # the template trims
        {"prompt": "q", "chosen": "same", "rejected": "same"},
        {"chosen": "q a", "rejected": "q a"},
    ]
    _, statistics = process(write_jsonl([*same, {"prompt": [Q], "chosen": [GOOD], "rejected": [BAD]}]), **settings)
    assert statistics["train"]["dropped"] == {"nothing_to_prefer": 5} and statistics["train"]["rows_out"] == 1
    alike = [
        {"prompt": "q", "chosen": "one two three x", "rejected": "one two three y"},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
    ]
    _, statistics = process(write_jsonl(alike, "alike.jsonl"), name="alike", max_length=4, **settings)
    assert statistics["train"]["dropped"] == {"nothing_to_prefer": 1}
