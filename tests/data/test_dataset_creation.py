"""From raw rows to a processed dataset: counts, splits, refusals, and the same bytes each time."""

import hashlib
import json
import subprocess

import chat_templates
import datasets
import pytest

from heirloom.data.chats.chat_templates import ChatTemplate
from heirloom.errors import HeirloomError

TEXT = "plain_text_processing_function"
CHAT = "dummy_processing_function"


def chat(question, reply="A spider has eight legs."):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]}


@pytest.fixture
def template(tmp_path) -> str:
    file = tmp_path / "template.jinja"
    file.write_text(chat_templates.CHATML, encoding="utf-8")
    return str(file)


def digests(folder) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.match(".*.made")  # what was made by hand, and when
    }


def texts(folder, split="train"):
    return list(datasets.load_from_disk(str(folder / split)))


def test_two_runs_in_two_places_give_the_same_bytes(run_script, write_jsonl, tokenizer_folder, template, tmp_path):
    """Also at another time, with another hash seed, another locale and fewer threads."""
    results = []
    for place, variables in (
        ("one/here", {"PYTHONHASHSEED": "1", "TZ": "UTC"}),
        ("another/place/there", {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "RAYON_NUM_THREADS": "1", "LC_ALL": "C"}),
    ):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        raw = write_jsonl([chat(f"How many legs? {n} é") for n in range(1500)], f"{place}/raw/train.jsonl").parent
        (folder / "template.jinja").write_text(chat_templates.CHATML)
        section = {"processing_function": CHAT, "max_length": 64, "test_fraction": 0.1, "chat_template": template}
        (folder / "c.yaml").write_text(json.dumps({"processing": section}))
        flags = ("--config", folder / "c.yaml", "--sections", "processing", "--raw", raw)
        flags += ("--tokenizer", tokenizer_folder, "--output", folder / "out/ds", "--statistics", folder / "m/ds.json")
        ended = run_script("create_dataset.py", *flags, **variables)
        assert ended.returncode == 0, ended.stderr
        results.append((digests(folder / "out"), (folder / "m/ds.json").read_bytes()))
    assert results[0] == results[1]
    assert {"ds/dataset.json", "ds/preview.html", "ds/train/state.json"} <= set(results[0][0])


def test_a_chat_dataset_has_what_training_and_scoring_read(process, write_jsonl, template, tmp_path):
    write_jsonl([chat("How many legs?"), chat("Is that all?", "Yes.")], "raw/train.jsonl")
    write_jsonl([chat("Really?", " Yes, that is all. ")], "raw/test.jsonl")
    folder, statistics = process(tmp_path / "raw", processing_function=CHAT, chat_template=template)
    assert list(texts(folder)[0]) == ["input_ids", "labels"]
    (row,) = texts(folder, "test")
    assert row["row_id"] == "test.jsonl:1" and row["reference"] == " Yes, that is all. "
    assert row["prompt"].endswith("user\nReally?<|im_end|>\n<|im_start|>assistant\n")
    assert row["input_ids"][: len(row["prompt_ids"])] == row["prompt_ids"]
    facts = json.loads((folder / "dataset.json").read_text())
    assert facts["kind"] == "chat" and facts["tokenizer"]["eos_token"] == "</s>" and facts["hub"] == []
    for split, fact in facts["splits"].items():
        listing = subprocess.run(["sha256sum", "data-00000-of-00001.arrow"], cwd=folder / split, capture_output=True)
        assert fact["sha256"] == hashlib.sha256(listing.stdout).hexdigest()
    assert {split: fact["rows"] for split, fact in facts["splits"].items()} == {"train": 2, "test": 1}
    counts = statistics["train"]
    labels = [label for row in texts(folder) for label in row["labels"]]
    assert counts["tokens"] == len(labels) and counts["tokens_trained_on"] == sum(label != -100 for label in labels)
    assert sum(counts["rows_by_length"].values()) == counts["rows_out"] == 2


def test_the_hub_repository_of_the_raw_rows_is_noted_without_its_commit(process, write_jsonl):
    raw = write_jsonl([{"text": "one"}], "raw/train.jsonl").parent
    for commit in ("1" * 40, "2" * 40):
        (raw / "source.json").write_text(json.dumps({"source": {"hub": "org/rows"}, "commit": commit, "files": []}))
        folder, _ = process(raw, name=commit, processing_function=TEXT)
        text = (folder / "dataset.json").read_text()
        assert json.loads(text)["hub"] == ["org/rows"] and commit not in text


def test_every_row_is_kept_or_counted(process, write_jsonl, template):
    rows = [chat("one"), chat("word " * 200), chat("two"), {"messages": []}, chat("three", "word " * 200)]
    keys = {"processing_function": CHAT, "chat_template": template, "max_length": 64, "bad_rows": 0.2}
    folder, statistics = process(write_jsonl(rows), **keys)
    counts = statistics["train"]
    assert counts["dropped"] == {"nothing_left_to_train_on": 1, "unusable": 1}
    assert (counts["rows_in"], counts["rows_kept"], counts["rows_truncated"]) == (5, 3, 1) and len(texts(folder)) == 3
    page = (folder / "preview.html").read_text()
    assert "train.jsonl:4" in page and "must be a list of messages" in page

    folder, statistics = process(write_jsonl(rows), name="dropping", truncation=False, **keys)
    assert statistics["train"]["dropped"] == {"longer_than_max_length": 2, "unusable": 1}


def test_bad_rows_fail_the_stage_with_their_places(run_script, write_jsonl, tokenizer_folder, tmp_path):
    write_jsonl([{"text": "one"}, {"txt": "two"}, {"text": 3}, {"text": "four"}], "raw/train.jsonl")
    (tmp_path / "raw/train.jsonl").open("a").write('{"text": \n')
    (tmp_path / "c.yaml").write_text(f"processing: {{processing_function: {TEXT}, max_length: 9}}")
    flags = ("--config", "c.yaml", "--sections", "processing", "--raw", "raw", "--tokenizer", tokenizer_folder)
    ended = run_script("create_dataset.py", *flags, "--output", "out", "--statistics", "s.json")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    for expected in (
        "3 of 5 raw rows cannot be used:",
        "train.jsonl:2: column 'text' must be text, found nothing; columns: txt",
        "train.jsonl:3: column 'text' must be text, found int",
        "train.jsonl:5: is not JSON",
        "processing.bad_rows",
    ):
        assert expected in ended.stderr, ended.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "s.json").exists()
    assert not list(tmp_path.glob(".*.partial/dataset.json"))


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ([{"text": " "}], {}, "train split, from .*, is empty: of 1 raw rows none is left .*empty_text: 1"),
        ([], {}, r"^processed: the train split, from \S+\.jsonl, is empty: of 0 raw rows"),
        ([], {"test_rows": 1}, r"^processed: the train split, from \S+\.jsonl, is empty: of 0 raw rows"),
        (
            [{"text": "one"}],
            {"test_rows": 1},
            r"^processed: .* from \S+\.jsonl, is empty: the drawn test split",
        ),
        ([{"text": "one"}], {"packed": True}, "do not fill one packed row of 512"),
        ([{"text": "same"}] * 4, {"test_rows": 1}, "takes all rows, since rows with the same prompt stay together"),
        ([{"text": "one"}], {"test_split": "held_out"}, "no split held_out; it has train"),
        (
            [],
            {"processing_function": CHAT, "chat_template": "."},
            "^processing.chat_template: . is no file; name",
        ),
        ([{"text": "one"}], {"processing_function": "nowhere:f", "kind": "text"}, "there is no file nowhere.py"),
    ],
)
def test_what_would_train_on_nothing_is_refused(process, write_jsonl, rows, keys, message):
    with pytest.raises(HeirloomError, match=message):
        process(write_jsonl(rows), **{"processing_function": TEXT, **keys})


def test_a_template_that_does_not_parse_is_told_with_its_owner():
    with pytest.raises(HeirloomError, match="^tokenizers/tiny: its chat template is not valid Jinja: unexpected '}'"):
        ChatTemplate("{{ messages }", {}, "tokenizers/tiny")


def test_documents_are_closed_and_packed_without_loss(process, write_jsonl, tokenizer_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    documents = [f"The capital of France is Paris, {n} times." for n in range(40)]
    raw = write_jsonl([{"text": text} for text in documents])
    folder, statistics = process(raw, processing_function=TEXT, packed=True, max_length=32)
    rows = [row["input_ids"] for row in texts(folder)]
    assert {len(row) for row in rows} == {32}
    expected = [token for text in documents for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    joined = [token for row in rows for token in row]
    assert joined == expected[: len(joined)]
    assert statistics["train"]["tokens_left_over"] == len(expected) - len(joined) < 32
    assert statistics["train"]["rows_in"] == 40

    folder, _ = process(raw, name="apart", processing_function=TEXT)
    assert [token for row in texts(folder) for token in row["input_ids"]] == expected


def test_padding_fills_rows_that_are_not_trained_on(process, write_jsonl, template):
    folder, statistics = process(
        write_jsonl([chat("How many legs?")]),
        processing_function=CHAT,
        chat_template=template,
        padding=True,
        max_length=80,
    )
    (row,) = texts(folder)
    length = statistics["train"]["tokens"]
    assert {len(row[name]) for name in ("input_ids", "labels", "attention_mask")} == {80} and length < 80
    assert row["attention_mask"] == [1] * length + [0] * (80 - length)
    assert set(row["labels"][length:]) == {-100} and len(set(row["input_ids"][length:])) == 1


def test_the_test_split_is_drawn_by_prompt(process, write_jsonl, template):
    rows = [chat(f"Question {n % 50}?", f"Answer {n}.") for n in range(200)]
    keys = {"processing_function": CHAT, "chat_template": template}
    raw = write_jsonl(rows)
    prompts = {}
    for name, drawn in (("a", {"test_rows": 40}), ("b", {"test_fraction": 0.2}), ("c", {"test_rows": 40, "seed": 1})):
        folder, statistics = process(raw, name=name, **keys, **drawn)
        assert statistics["test"]["rows_in"] == 40 and statistics["train"]["rows_in"] == 160
        held_out = [row["prompt"] for row in texts(folder, "test")]
        prompts[name] = set(held_out)
        assert len(prompts[name]) == 10  # all four rows of a prompt
    assert prompts["a"] == prompts["b"] != prompts["c"]
    # rows that are added later leave the others where they are
    folder, _ = process(write_jsonl([*rows, chat("New?")]), name="d", test_rows=40, **keys)
    assert len({row["prompt"] for row in texts(folder, "test")} & prompts["a"]) >= 9


def test_raw_columns_are_kept_where_that_is_asked(process, write_jsonl):
    folder, _ = process(write_jsonl([{"text": "one", "id": 7}]), processing_function=TEXT, remove_columns=False)
    (row,) = texts(folder)
    assert json.loads(row["raw"]) == {"text": "one", "id": 7}


def test_columns_are_renamed_first(process, write_jsonl):
    folder, _ = process(write_jsonl([{"content": "one"}]), processing_function=TEXT, columns={"content": "text"})
    assert len(texts(folder)) == 1


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        (
            {"text": "orig", "body": "B"},
            {"body": "text"},
            "train.jsonl:1 has the columns text and body, and each would",
        ),
        (
            {"body": "B", "text": "orig"},
            {"body": "text"},
            "train.jsonl:1 has the columns body and text, and each would",
        ),
        ({"text": "one", "system": "x"}, {"sytem": "system"}, "columns.sytem: no row has such a column; did you mean"),
    ],
)
def test_names_that_collide_or_rename_nothing_are_refused(process, write_jsonl, row, columns, message):
    with pytest.raises(HeirloomError, match=message):
        process(write_jsonl([row]), processing_function=TEXT, columns=columns)


def test_names_may_change_places_or_be_rare(process, write_jsonl, tokenizer_folder):
    rows = [{"text": "wrong", "body": "right"}, {"body": "right", "text": "wrong"}, {"body": "right"}]
    folder, _ = process(write_jsonl(rows), processing_function=TEXT, columns={"body": "text", "text": "body"})
    assert len({tuple(row["input_ids"]) for row in texts(folder)}) == 1
    with pytest.raises(ValueError, match="would give several columns the name text"):
        process(write_jsonl(rows), processing_function=TEXT, columns={"body": "text", "other": "text"})


def test_half_a_character_that_a_function_makes_is_a_bad_row(process, write_jsonl, tmp_path, monkeypatch):
    (tmp_path / "cutting.py").write_text("def cut(row):\n    return {'text': row['text'] + '\\ud83d' * row['half']}\n")
    monkeypatch.chdir(tmp_path)
    raw = write_jsonl([{"text": "one", "half": 0}, {"text": "two", "half": 1}])
    _, statistics = process(raw, processing_function="cutting:cut", kind="text", bad_rows=0.5)
    assert statistics["train"]["dropped"] == {"unusable": 1} and statistics["train"]["rows_out"] == 1


def test_a_row_that_goes_beyond_python_is_a_bad_row(process, write_jsonl, tmp_path, monkeypatch):
    """Nested without end, or a number that no float holds: the row is told, and the others go on."""
    (tmp_path / "reading.py").write_text(
        "def depth(value):\n    return 1 + depth(value[0]) if value else 0\n\n\n"
        "def read(row):\n    value = []\n    for _ in range(row['levels']):\n        value = [value]\n"
        "    return {'text': f\"{depth(value)} {float(row['number'])}\"}\n"
    )
    monkeypatch.chdir(tmp_path)
    rows = [{"levels": 3, "number": 1}, {"levels": 2000, "number": 1}, {"levels": 3, "number": 10**400}]
    _, statistics = process(write_jsonl(rows), processing_function="reading:read", kind="text", bad_rows=0.7)
    assert statistics["train"]["dropped"] == {"unusable": 2} and statistics["train"]["rows_out"] == 1


def test_your_own_function_is_found_and_counts_as_code(run_script, write_jsonl, tokenizer_folder, tmp_path):
    (tmp_path / "my_texts.py").write_text(
        "def shout(row):\n    return {'text': row['body'].upper()} if row['body'] != 'skip' else None\n"
    )
    write_jsonl([{"body": "one"}, {"body": "skip"}], "raw/train.jsonl")
    section = "{processing_function: 'my_texts:shout', kind: text, max_length: 9}"
    (tmp_path / "c.yaml").write_text(f"processing: {section}")
    flags = ("--config", "c.yaml", "--sections", "processing", "--raw", "raw", "--tokenizer", tokenizer_folder)
    ended = run_script("create_dataset.py", *flags, "--output", "out", "--statistics", "s.json")
    assert ended.returncode == 0, ended.stderr
    counts = json.loads((tmp_path / "s.json").read_text())["train"]
    assert counts["rows_out"] == 1 and counts["dropped"] == {"left_out_by_function": 1}
    assert "ONE" in (tmp_path / "out/preview.html").read_text()


INSTRUCTION = {"instruction": "Translate.", "input": "Hallo", "output": "Hello", "history": [["Hi", "Hi."]]}
SHAREGPT = {"system": "Be nice.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]}


@pytest.mark.parametrize(
    ("name", "row", "roles", "last"),
    [
        ("instruction_processing_function", INSTRUCTION, "user assistant user assistant", "Hello"),
        ("instruction_processing_function", {"instruction": "a", "input": "", "output": "b"}, "user assistant", "b"),
        ("sharegpt_processing_function", SHAREGPT, "system user assistant", "Yo"),
    ],
)
def test_chats_of_other_forms(name, row, roles, last):
    from heirloom.data.rows.processing import find_processing_function

    function, kind = find_processing_function(name)
    messages = function(row)["messages"]
    assert kind == "chat" and [message["role"] for message in messages] == roles.split()
    assert messages[-1]["content"] == last


def test_preference_pairs_in_sharegpt_form():
    from heirloom.data.rows.processing import find_processing_function

    function, kind = find_processing_function("sharegpt_rlhf_processing_function")
    turns = {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Hello!"}}
    record = function({**turns, "rejected": {"from": "gpt", "value": "No."}})
    assert kind == "preference" and record["prompt"] == [{"role": "user", "content": "Hi"}]
    assert record["chosen"] == [{"role": "assistant", "content": "Hello!"}]
    with pytest.raises(ValueError, match="'rejected' must be a list of turns, found nothing"):
        function(turns)


def test_the_preview_shows_rows_and_masks_and_no_markup_of_the_data(process, write_jsonl, template):
    row = chat("<script>alert('x')</script> & co\x07", "<b>bold</b>\n</pre>")
    folder, _ = process(write_jsonl([row]), processing_function=CHAT, chat_template=template)
    page = (folder / "preview.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "\\x07" in page
    assert '<mark class="trained">&lt;b&gt;bold&lt;/b&gt;<i>↵</i>\n&lt;/pre&gt;&lt;|im_end|&gt;</mark>' in page
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page and "http" not in page


def test_a_tokenizer_that_has_to_be_converted_first_is_named(process, write_jsonl, tmp_path):
    folder = tmp_path / "mistral"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(b"no model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    with pytest.raises(HeirloomError, match=r"mistral: holds no tokenizer.json.*`sentencepiece` is installed"):
        process(write_jsonl([{"text": "one"}]), folder, processing_function=TEXT)
