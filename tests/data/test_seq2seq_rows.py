"""Sources and targets become the ids that transformers' own tokenizer makes of them with `text_target`."""

import json

import datasets
import pytest
from pydantic import ValidationError
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from heirloom.config.sections.processing import ProcessingSection
from heirloom.errors import HeirloomError

FUNCTION = "seq2seq_processing_function"
ROWS = [
    {"source": "How many legs does a spider have?", "target": "Eight."},
    {"source": "Is that all? Yes, that is all. " * 3, "target": "A spider has eight legs, and two eyes or more."},
    {"source": "Roses are red", "target": "violets are blue"},
]
CLOSED = {"T5's way": "$A </s>", "BART's way": "<s> $A </s>"}


@pytest.fixture
def closing_tokenizer(tokenizer_folder, tmp_path):
    """Return a function that makes a tokenizer which adds special tokens by a template."""

    def make(template: str):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
        special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
        tokenizer.save_pretrained(tmp_path / "closing")
        return tmp_path / "closing"

    return make


def pairs(folder, split="train"):
    return [(row["input_ids"], row["labels"]) for row in datasets.load_from_disk(str(folder / split))]


@pytest.mark.parametrize("way", CLOSED)
def test_ids_and_cuts_are_those_of_transformers(process, write_jsonl, closing_tokenizer, way):
    folder = closing_tokenizer(CLOSED[way])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for row in ROWS:
        source = tokenizer(row["source"], max_length=20, truncation=True)["input_ids"]
        target = tokenizer(text_target=row["target"], max_length=8, truncation=True)["input_ids"]
        expected.append((source, target))
    keys = {"processing_function": FUNCTION, "max_length": 20, "max_target_length": 8}
    made, counts = process(write_jsonl(ROWS), folder, **keys)
    assert pairs(made) == expected
    whole = [len(tokenizer(row[name])["input_ids"]) for row in ROWS for name in ("source", "target")]
    tokens = sum(len(ids) for pair in expected for ids in pair)
    assert counts["train"]["tokens"] == tokens < sum(whole)
    assert counts["train"]["tokens_cut"] == sum(whole) - tokens
    assert counts["train"]["rows_truncated"] == 1 and counts["train"]["longest_row"] == 20
    assert counts["train"]["tokens_trained_on"] == sum(len(target) for _, target in expected)


def test_targets_end_though_the_tokenizer_adds_nothing(process, write_jsonl, tokenizer_folder):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    made, _ = process(write_jsonl(ROWS), processing_function=FUNCTION)
    plain = [(tokenizer(row["source"])["input_ids"], tokenizer(row["target"])["input_ids"]) for row in ROWS]
    assert pairs(made) == [(source, [*target, tokenizer.eos_token_id]) for source, target in plain]

    made, _ = process(
        write_jsonl(ROWS), name="ends", processing_function=FUNCTION, max_length=6, truncation_mode="keep_end"
    )
    assert pairs(made) == [(source[-6:], [*target[-5:], tokenizer.eos_token_id]) for source, target in plain]


def test_rows_that_are_left_out_are_counted(process, write_jsonl):
    rows = [*ROWS, {"source": " ", "target": "a"}, {"source": "a", "target": ""}]
    keys = {"processing_function": FUNCTION, "truncation": False, "max_length": 20, "max_target_length": 8}
    _, counts = process(write_jsonl(rows), **keys)
    left_out = {"empty_source": 1, "empty_target": 1, "longer_than_max_length": 1}
    assert counts["train"]["dropped"] == left_out and counts["train"]["rows_out"] == 2
    _, counts = process(write_jsonl(rows), name="longer", **{**keys, "max_length": 200})
    assert counts["train"]["dropped"] == {"empty_source": 1, "empty_target": 1, "longer_than_max_target_length": 1}
    with pytest.raises(HeirloomError, match=r"train.jsonl:1: column 'target' must be text, found nothing"):
        process(write_jsonl([{"source": "a"}]), **keys)


def test_what_would_be_cut_to_nothing_is_refused(process, write_jsonl, closing_tokenizer):
    folder = closing_tokenizer(CLOSED["BART's way"])
    with pytest.raises(HeirloomError, match=r"processing.max_target_length: 2 tokens leave no room beside the 2"):
        process(write_jsonl(ROWS), folder, processing_function=FUNCTION, max_target_length=2)


def test_the_test_split_has_prompts_and_references_and_the_preview_both_texts(process, write_jsonl, tmp_path):
    renamed = [{"article": row["source"], "summary": row["target"]} for row in ROWS]
    write_jsonl(renamed, "raw/train.jsonl")
    write_jsonl(renamed[:1], "raw/test.jsonl")
    columns = {"article": "source", "summary": "target"}
    made, _ = process(tmp_path / "raw", processing_function=FUNCTION, columns=columns, max_target_length=64)
    (row,) = datasets.load_from_disk(str(made / "test"))
    assert row["row_id"] == "test.jsonl:1" and row["prompt_ids"] == row["input_ids"]
    assert (row["prompt"], row["reference"]) == (ROWS[0]["source"], ROWS[0]["target"])
    facts = json.loads((made / "dataset.json").read_text())
    assert (facts["kind"], facts["max_length"], facts["max_target_length"]) == ("seq2seq", 512, 64)
    assert facts["splits"]["train"]["columns"] == ["input_ids", "labels"]
    page = (made / "preview.html").read_text()
    assert "train.jsonl:1: source" in page and "<pre>How many legs does a spider have?</pre>" in page
    assert '<pre><mark class="trained">Eight.&lt;/s&gt;</mark></pre>' in page


def test_mixtures_count_sources_and_targets_as_the_parts_do(process, write_jsonl, run_script, tmp_path):
    counts = {}
    for name, rows in (("a", ROWS), ("b", ROWS[:1])):
        _, made = process(write_jsonl(rows, f"{name}.jsonl"), name=name, processing_function=FUNCTION)
        counts[name] = made["train"]
    (tmp_path / "c.yaml").write_text(json.dumps({"mixture": {"datasets": {"a": 3, "b": 1}}}))
    flags = ("--config", "c.yaml", "--sections", "mixture", "--datasets", "a=a", "b=b", "--output", "mixed")
    ended = run_script("create_dataset.py", *flags, "--statistics", "mixed.json")
    assert ended.returncode == 0, ended.stderr
    mixed = json.loads((tmp_path / "mixed.json").read_text())["train"]
    for name in ("rows_out", "tokens", "tokens_trained_on"):
        assert mixed[name] == counts["a"][name] + counts["b"][name]


def test_plain_text_is_read_from_the_column_that_is_named(process, write_jsonl, tokenizer_folder):
    """Also where a column `text` holds something else."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    raw = write_jsonl([{"text": "not this", "content": "Thanks!"}])
    made, _ = process(raw, processing_function="plain_text_processing_function", dataset_text_field="content")
    (row,) = datasets.load_from_disk(str(made / "train"))
    assert tokenizer.decode(row["input_ids"]) == "Thanks!</s>"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"padding": True}, "padding: has no effect on seq2seq rows"),
        ({"train_on": "all"}, "train_on: has no effect on seq2seq rows"),
        ({"chat_template": "a.jinja"}, "chat_template: has no effect on seq2seq rows"),
        ({"packed": True}, "packed: is for text rows, and these are seq2seq"),
        ({"max_prompt_length": 4}, "max_prompt_length: is for preference and labelled rows, and these are seq2seq"),
        ({"dataset_text_field": "body"}, "is for plain_text_processing_function, and seq2seq_processing_function"),
        (
            {"processing_function": "dummy_processing_function", "max_target_length": 4},
            "max_target_length: is for seq2seq rows, and these are chat",
        ),
        (
            {
                "processing_function": "plain_text_processing_function",
                "dataset_text_field": "body",
                "columns": {"content": "text"},
            },
            "dataset_text_field: and columns.content say the same thing twice",
        ),
        ({"processing_function": "mine:f"}, "text, chat, preference, labelled or seq2seq"),
    ],
)
def test_keys_that_do_nothing_are_refused(keys, said):
    with pytest.raises(ValidationError, match=said):
        ProcessingSection.model_validate({"processing_function": FUNCTION, "max_length": 64, **keys})
