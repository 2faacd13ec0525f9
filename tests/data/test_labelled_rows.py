"""Judged answers become the ids that TRL's own KTOTrainer makes of the same rows, in the forms that datasets have."""

from types import SimpleNamespace

import chat_templates
import datasets
import pytest
from transformers import AutoTokenizer

from heirloom.data.rows.processing import labelled_processing_function
from heirloom.training.inputs.single_answers import answers_of, class_weights

QUESTION = {"role": "user", "content": "How many legs does a spider have?"}
EIGHT = {"role": "assistant", "content": "Eight."}
CHATS = [
    {"prompt": [QUESTION], "completion": [EIGHT], "label": True},
    {"prompt": [QUESTION, EIGHT, QUESTION], "completion": [{"role": "assistant", "content": " Ei "}], "label": False},
]
PLAIN = [
    {"prompt": "How many legs? ", "completion": "Eight.", "label": True},
    {"prompt": "Is that all?", "completion": " No.</s>", "label": False},
]
COLUMNS = ("prompt_ids", "completion_ids", "label")


def ids_by_trl(rows, tokenizer):
    """Let TRL's trainer prepare the rows; only its constructor, which wants a model, is left out."""
    from trl.trainer.kto_trainer import KTOTrainer

    trainer = SimpleNamespace(
        _tokenizer=tokenizer, calculate_KL=False, desirable_weight=1.0, undesirable_weight=1.0, _is_vlm=False
    )
    args = SimpleNamespace(dataset_num_proc=None, max_length=512, per_device_train_batch_size=2)
    prepared = KTOTrainer._prepare_dataset(trainer, datasets.Dataset.from_list(rows), tokenizer, args, "train")
    return [{name: row[name] for name in COLUMNS} for row in prepared]


def ids_here(process, write_jsonl, rows, **keys):
    folder, statistics = process(write_jsonl(rows), processing_function="labelled_processing_function", **keys)
    return [dict(row) for row in datasets.load_from_disk(str(folder / "train"))], statistics["train"]


def test_chats_give_the_ids_of_trl(process, write_jsonl, tokenizer_folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = chat_templates.CHATML
    file = tmp_path / "template.jinja"
    file.write_text(tokenizer.chat_template, encoding="utf-8")
    ours, statistics = ids_here(process, write_jsonl, CHATS, chat_template=str(file))
    assert ours == ids_by_trl(CHATS, tokenizer)
    assert statistics["tokens"] == sum(len(row["prompt_ids"]) + len(row["completion_ids"]) for row in ours)


def test_plain_texts_give_the_ids_of_trl(process, write_jsonl, tokenizer_folder):
    ours, _ = ids_here(process, write_jsonl, PLAIN)
    assert ours == ids_by_trl(PLAIN, AutoTokenizer.from_pretrained(tokenizer_folder))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [QUESTION, EIGHT], "label": 1},
        {"conversations": [{"from": "human", "value": QUESTION["content"]}, {"from": "gpt", "value": "Eight."}]}
        | {"kto_tag": "true"},
        {"instruction": QUESTION["content"], "output": "Eight.", "kto_tag": True},
        {"prompt": QUESTION["content"], "completion": [EIGHT], "label": True},
    ],
    ids=["messages", "sharegpt", "alpaca", "mixed"],
)
def test_other_forms_say_the_same(row):
    found = labelled_processing_function(row)
    assert (found["prompt"], found["completion"], found["label"]) == ([QUESTION], [EIGHT], True)


def test_a_row_without_a_label_is_refused():
    with pytest.raises(ValueError, match="column 'label' must be true or false"):
        labelled_processing_function({"prompt": "a", "completion": "b"})


def test_each_answer_stands_beside_another_prompt_of_its_batch():
    rows = datasets.Dataset.from_dict(
        {"prompt_ids": [[n] for n in range(7)], "chosen_ids": [[10 + n] for n in range(7)]}
        | {"rejected_ids": [[20 + n] for n in range(7)]}
    )
    table = answers_of(rows, seed=3, batch=4).to_pydict()
    assert sorted(zip(table["prompt_ids"], table["completion_ids"], table["label"], strict=True)) == sorted(
        [([n], [10 + n], True) for n in range(7)] + [([n], [20 + n], False) for n in range(7)]
    )
    answers = table["completion_ids"]
    batches = [answers[start : start + 4] for start in range(0, len(answers), 4)]
    assert table["KL_completion_ids"] == [answer for batch in batches for answer in (batch[-1:] + batch[:-1])]
    assert table["label"] != sorted(table["label"], reverse=True)
    assert answers_of(rows, seed=4, batch=4).to_pydict() != table


def test_weights_follow_from_uneven_labels_and_are_told(capsys):
    rows = datasets.Dataset.from_dict({"label": [True] * 2 + [False] * 6})
    assert class_weights(rows, {}) == {"desirable_weight": 3.0, "undesirable_weight": 1.0}
    assert "2 good and 6 bad answers: desirable_weight: 3, undesirable_weight: 1" in capsys.readouterr().out
    assert class_weights(rows, {"desirable_weight": 1.0}) == {}
    assert class_weights(datasets.Dataset.from_dict({"label": [True, False]}), {}) == {}
