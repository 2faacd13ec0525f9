"""Preference pairs become the ids that TRL's own DPOTrainer makes of the same rows."""

from types import SimpleNamespace

import chat_templates
import datasets
import pytest
from trained_spans import TOOLS, calling, trl_template
from transformers import AutoTokenizer

from heirloom.errors import HeirloomError

QUESTION = {"role": "user", "content": "How many legs does a spider have?"}


def answer(text):
    return {"role": "assistant", "content": text}


CHATS = [
    {"prompt": [QUESTION], "chosen": [answer("Eight.")], "rejected": [answer("Six legs.")]},
    {"prompt": [QUESTION, answer("Yes."), QUESTION], "chosen": [answer("  Eight. ")], "rejected": [answer("Ei")]},
]
SHARED = [{"chosen": [QUESTION, answer("Eight.")], "rejected": [QUESTION, answer("Eight legs.")]}]
PLAIN = [
    {"prompt": "How many legs? ", "chosen": "Eight.", "rejected": "Six legs.</s>"},
    {"prompt": "Is that all?", "chosen": " Yes.", "rejected": "Yes."},
]
SHARED_PLAIN = [
    {"chosen": "A spider has eight legs", "rejected": "A spider has six legs"},
    {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: How many legs?\n\nAssistant: Let me think: eight",
        "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: How many legs?\n\nAssistant: Let me go",
    },
]
PRETENDED = [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "ab", "chosen": "c", "rejected": "d"}]


def ids_by_trl(rows, tokenizer, max_length=512):
    """Let TRL's trainer prepare the rows; only its constructor, which wants a model, is left out."""
    from trl.trainer.dpo_trainer import DPOTrainer

    trainer = SimpleNamespace(_tokenizer=tokenizer)
    args = SimpleNamespace(dataset_num_proc=None, max_length=max_length, truncation_mode="keep_start")
    prepared = DPOTrainer._prepare_dataset(trainer, datasets.Dataset.from_list(rows), tokenizer, args, "train")
    return [{name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")} for row in prepared]


def ids_here(process, write_jsonl, rows, **keys):
    raw = write_jsonl(rows)
    folder, statistics = process(raw, processing_function="dummy_rlhf_processing_function", **keys)
    return [dict(row) for row in datasets.load_from_disk(str(folder / "train"))], statistics["train"]


@pytest.mark.parametrize("name", ["LLAMA3", "CHATML", "MISTRAL", "GEMMA", "REASONING", "DROPPING"])
@pytest.mark.parametrize("rows", [CHATS, SHARED], ids=["prompt", "shared"])
def test_chats_give_the_ids_of_trl(process, write_jsonl, tokenizer_folder, tmp_path, name, rows):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = getattr(chat_templates, name)
    file = tmp_path / "template.jinja"
    file.write_text(tokenizer.chat_template, encoding="utf-8")
    ours, _ = ids_here(process, write_jsonl, rows, chat_template=str(file))
    assert ours == ids_by_trl(rows, tokenizer)


@pytest.mark.parametrize("rows", [PLAIN, SHARED_PLAIN, PRETENDED], ids=["prompt", "shared", "merging"])
@pytest.mark.parametrize("with_bos", [False, True])
def test_plain_texts_give_the_ids_of_trl(process, write_jsonl, tokenizer_folder, tmp_path, rows, with_bos):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    if with_bos:
        from tokenizers.processors import TemplateProcessing

        bos = ("<s>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[bos])
        tokenizer.save_pretrained(tmp_path / "with-bos")
        tokenizer_folder = tmp_path / "with-bos"
    ours, _ = ids_here(process, write_jsonl, rows, tokenizer=tokenizer_folder)
    expected = ids_by_trl(rows, AutoTokenizer.from_pretrained(tokenizer_folder))
    assert ours == expected and (not with_bos or expected[0]["prompt_ids"][0] == tokenizer.bos_token_id)


def test_the_lengths_are_kept(process, write_jsonl):
    long = [{"prompt": "one two three four five six. " * 9, "chosen": "Eight legs. " * 9, "rejected": "Six. " * 3}]
    (whole,), _ = ids_here(process, write_jsonl, long)
    prompt, chosen, rejected = (whole[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids"))

    (row,), counts = ids_here(process, write_jsonl, long, name="a", max_length=len(prompt) + 10)
    assert counts["tokens"] == 2 * len(prompt) + 20 and counts["tokens_trained_on"] == 20
    assert row["prompt_ids"] == prompt and row["chosen_ids"] == chosen[:10] and row["rejected_ids"] == rejected[:10]
    assert counts["rows_truncated"] == 1 and counts["tokens_cut"] == len(chosen) - 10 + max(0, len(rejected) - 10)

    (row,), _ = ids_here(process, write_jsonl, long, name="b", max_prompt_length=7)
    assert row["prompt_ids"] == prompt[-7:] and row["chosen_ids"] == chosen

    limit = len(chosen) + 5
    (row,), _ = ids_here(process, write_jsonl, long, name="c", max_length=limit, truncation_mode="keep_end")
    assert row["prompt_ids"] == prompt[-5:] and row["chosen_ids"] == chosen and row["rejected_ids"] == rejected


def test_rows_whose_prompt_leaves_no_room_are_counted_not_lost(process, write_jsonl):
    rows = [*PLAIN, {"prompt": "one two three four five six. " * 9, "chosen": "Eight.", "rejected": "Six."}]
    for name, keys, reason in (
        ("a", {}, "prompt_fills_max_length"),
        ("b", {"truncation": False}, "longer_than_max_length"),
    ):
        ours, counts = ids_here(process, write_jsonl, rows, name=name, max_length=40, **keys)
        assert len(ours) == 2 and counts["rows_in"] == 3 and counts["dropped"] == {reason: 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "", "rejected": "b"}, "chosen or rejected answer is empty"),
        ({"prompt": "a", "chosen": "b"}, "must be all texts or all lists"),
        ({"prompt": "a", "chosen": [answer("")], "rejected": [answer("b")]}, "chosen or rejected answer is empty"),
    ],
)
def test_pairs_that_prefer_nothing_are_refused(process, write_jsonl, row, message):
    with pytest.raises(HeirloomError, match=f"train.jsonl:1: .*{message}"):
        ids_here(process, write_jsonl, [row])


def test_the_test_split_has_texts_to_compare_with(process, write_jsonl, tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text(chat_templates.GEMMA, encoding="utf-8")
    write_jsonl(CHATS, "raw/train.jsonl")
    write_jsonl(CHATS[:1], "raw/test.jsonl")
    folder, _ = process(tmp_path / "raw", processing_function="dummy_rlhf_processing_function", chat_template=str(file))
    (row,) = datasets.load_from_disk(str(folder / "test"))
    assert row["row_id"] == "test.jsonl:1" and row["prompt"].endswith("<start_of_turn>model\n")
    assert (row["chosen"], row["rejected"], row["reference"]) == ("Eight.", "Six legs.", "Eight.")


def test_tools_of_pairs_are_in_their_prompts(process, write_jsonl, tmp_path, tokenizer_folder):
    """As TRL's DPOTrainer renders them."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = trl_template("qwen3_instruct_2507")
    file = tmp_path / "template.jinja"
    file.write_text(tokenizer.chat_template, encoding="utf-8")
    rows = [{"tools": TOOLS, "prompt": [QUESTION], "chosen": [calling()], "rejected": [answer("Six.")]}]
    ours, _ = ids_here(process, write_jsonl, rows, chat_template=str(file), max_length=2048)
    assert ours == ids_by_trl(rows, tokenizer, 2048) and "<tools>" in tokenizer.decode(ours[0]["prompt_ids"])
