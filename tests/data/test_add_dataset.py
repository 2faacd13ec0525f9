"""One's own data: the shapes that people have are found by looking at the rows, and shown with their mask."""

import shutil

import pytest

from heirloom.config.dataset import Dataset
from heirloom.config.files import value_problems
from heirloom.config.parsing.reading import read_yaml
from heirloom.data.first_look.shape_of_rows import Shape, first_rows, shape_of
from heirloom.data.first_look.trial import find_dataset
from heirloom.data.rows.processing import prompt_completion_processing_function
from heirloom.errors import HeirloomError

USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
TURNS = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SHAPES = {
    "messages": ({"messages": [USER, ASSISTANT]}, Shape("dummy_processing_function")),
    "message": ({"message": [USER, ASSISTANT]}, Shape("dummy_processing_function", {"message": "messages"})),
    "roles in conversations": (
        {"conversations": [USER, ASSISTANT]},
        Shape("dummy_processing_function", {"conversations": "messages"}),
    ),
    "sharegpt": ({"id": "1", "conversations": TURNS}, Shape("sharegpt_processing_function")),
    "sharegpt elsewhere": (
        {"conversation": TURNS},
        Shape("sharegpt_processing_function", {"conversation": "conversations"}),
    ),
    "alpaca": ({"instruction": "Add", "input": "1 2", "output": "3"}, Shape("instruction_processing_function")),
    "questions": (
        {"question": "1+1?", "answer": "2"},
        Shape("instruction_processing_function", {"question": "instruction", "answer": "output"}),
    ),
    "pairs of texts": (
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        Shape("dummy_rlhf_processing_function"),
    ),
    "pairs with a question": (
        {"question": "Hi", "chosen": "Hello", "rejected": "No"},
        Shape("dummy_rlhf_processing_function", {"question": "prompt"}),
    ),
    "pairs in sharegpt's style": (
        {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": {"from": "gpt", "value": "No"}},
        Shape("sharegpt_rlhf_processing_function"),
    ),
    "kto": (
        {"prompt": "Hi", "completion": "Hello", "label": True},
        Shape("prompt_completion_processing_function"),
    ),
    "kto of chats": ({"messages": [USER, ASSISTANT], "label": True}, Shape("prompt_completion_processing_function")),
    "chats of a class": ({"messages": [USER, ASSISTANT], "label": "cooking"}, Shape("dummy_processing_function")),
    "prompts of messages": (
        {"prompt": [USER], "completion": [ASSISTANT]},
        Shape("prompt_completion_processing_function"),
    ),
    "sources": ({"source": "cat", "target": "chat"}, Shape("seq2seq_processing_function")),
    "text": ({"text": "Once."}, Shape("plain_text_processing_function", dataset_text_field="text")),
    "one odd column": ({"line": "Once."}, Shape("plain_text_processing_function", dataset_text_field="line")),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_found_by_looking(name):
    row, expected = SHAPES[name]
    found, _ = shape_of([row] * 3)
    assert found == expected


def test_what_cannot_be_decided_is_said():
    rows = [SHAPES["messages"][0], {"messages": "nothing"}]
    shape, questions = shape_of(rows)
    assert shape.processing_function == "dummy_processing_function"
    assert questions[0].startswith("1 of 2 rows cannot be used, the first because column 'messages' must be a list")
    answers = [{"prompt": "Hi", "completion": "Hello", "label": label} for label in (True, False, False)]
    (said,) = shape_of(answers)[1]
    assert said.startswith("2 of 3 rows are answers that were judged bad and are left out")
    assert said.endswith("write labelled_processing_function and use trainer: kto")
    with pytest.raises(HeirloomError, match="columns a, b: no built-in processing function takes these rows"):
        shape_of([{"a": 1, "b": 2}])


def test_a_csv_of_questions_and_its_splits(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("question,answer\n1+1?,2\n2+2?,4\n")
    rows, splits = first_rows(tmp_path)
    assert splits == {"train": 2, "test": 2} and shape_of(rows)[0] == SHAPES["questions"][1]


def test_of_judged_answers_the_good_ones_are_chats():
    made = prompt_completion_processing_function
    chat = {"messages": [USER, ASSISTANT]}
    for label in (True, 1, "true", "1", 1.0, "True"):
        assert made({"prompt": "Hi", "completion": "Hello", "label": label}) == chat
        assert made({"prompt": [USER], "completion": [ASSISTANT], "label": label}) == chat
        assert made({"messages": [USER, ASSISTANT], "label": label}) == chat
    for label in (False, 0, "false", "0", "FALSE"):
        assert made({"prompt": "Hi", "completion": "Hello", "label": label}) is None
    assert made({"prompt": "[1, 2] is?", "completion": "A list."})["messages"][0]["content"] == "[1, 2] is?"
    for label in (None, 2, "good"):
        with pytest.raises(ValueError, match="column 'label' must be true or false"):
            made({"prompt": "Hi", "completion": "Hello", "label": label})


@pytest.fixture
def project(tmp_path, monkeypatch, tokenizer_folder):
    """A folder with a config/ that has one model, whose tokenizer is here."""
    for folder in ("config/datasets", "config/models", "tokenizers"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "config/models/tiny.yaml").write_text("source: {path: x}\n")
    shutil.copytree(tokenizer_folder, tmp_path / "tokenizers/tiny")
    (tmp_path / "tokenizers/tiny/chat_template.jinja").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["chats", "pairs"])
def test_the_program_writes_a_file_that_is_accepted_and_shows_rows_with_their_mask(
    project, run_script, write_jsonl, kind
):
    chat = [{"message": [{"role": "user", "content": "\x1b[2JHi"}, ASSISTANT], "source": "mine"}] * 60
    chat.append({"message": 1, "odd\nsource: {path: /}\x1b[2J\ntokenizer": 1})  # anybody's: it acts nowhere
    pairs = [{"question": "Hi", "chosen": "Hello", "rejected": "No"}] * 60
    write_jsonl(chat if kind == "chats" else pairs, f"{kind}.jsonl")
    done = run_script("add_dataset.py", f"{kind}.jsonl", "--tokenizer", "tiny", "--max_length", "64")
    assert done.returncode == 0, done.stderr
    file = project / f"config/datasets/{kind}.yaml"
    value = read_yaml(file)
    assert value_problems(Dataset, value, f"config/datasets/{kind}.yaml") == []
    assert value["source"] == {"path": f"{kind}.jsonl"} and value["processing"]["test_fraction"] == 0.02
    assert "# TODO there is no test split, so 2% of the rows are held out, drawn by seed" in file.read_text()
    assert done.stdout.count("--- row ") == 3
    assert ("«Hello<|end|>»" if kind == "chats" else "chosen: «Hello") in done.stdout
    assert f"all rows, as a run will have them: python scripts/preview_dataset.py {kind}" in done.stdout
    assert f"a colleague needs {kind}.jsonl as well: `git add {kind}.jsonl`, or of a large one `dvc add" in done.stdout
    assert "\x1b" not in done.stdout + file.read_text() and ("\\x1b[2JHi" in done.stdout) == (kind == "chats")
    if kind == "pairs":
        return
    assert "# TODO 1 of 61 rows cannot be used, the first because column 'messages' must be a list" in file.read_text()
    again = run_script("add_dataset.py", f"{kind}.jsonl", "--tokenizer", "tiny")
    assert again.returncode == 1 and "exists already: give another --name" in again.stderr
    missing = run_script("add_dataset.py", "nowhere.jsonl", "--tokenizer", "tiny")
    assert missing.stderr == "error: FILE_OR_REPO: there is no file nowhere.jsonl; give a path that is here\n"
    unknown = run_script("add_dataset.py", f"{kind}.jsonl", "--tokenizer", "tini", "--name", "x")
    assert "there is no config/models/tini.yaml; did you mean tiny?" in unknown.stderr


def test_a_dataset_that_no_run_uses_is_processed_to_look_at(project, run_script, write_jsonl):
    """Another file that is broken, and a run, do not matter; the tokenizer that is here is used."""
    (project / "config/runs").mkdir()
    (project / "config/runs/broken.yaml").write_text("base: nothing\n")
    rows = [{"messages": [{"role": "user", "content": f"Hi {n}"}, ASSISTANT]} for n in range(50)]
    write_jsonl(rows, "mine.jsonl")
    (project / "config/datasets/mine.yaml").write_text(
        "tokenizer: tiny\nsource: {path: mine.jsonl}\n"
        "processing: {processing_function: dummy_processing_function, max_length: 64, test_rows: 10}\n"
    )
    (project / "x").mkdir()
    done = run_script("preview_dataset.py", "mine")
    assert done.returncode == 0, done.stderr
    preview = project / ".heirloom/previews/mine"
    assert f"{preview.relative_to(project)}/train: 40 rows, " in done.stdout and "/test: 10 rows, " in done.stdout
    assert done.stdout.count("--- row ") == 3 and "«Hello<|end|>»" in done.stdout
    assert (preview / "preview.html").is_file() and (preview / "dataset.json").is_file()


def test_a_name_that_is_none_lists_what_there_is(project):
    (project / "config/runs").mkdir()
    (project / "x").mkdir()
    mine = "tokenizer: tiny\nsource: {path: x}\nprocessing: {processing_function: PF, max_length: 64}\n"
    (project / "config/datasets/one.yaml").write_text(mine.replace("PF", "dummy_processing_function"))
    (project / "config/datasets/two.yaml").write_text(mine.replace("PF", "no_such_function"))
    (project / "config/datasets/mixed.yaml").write_text("tokenizer: tiny\nmixture: {datasets: {one: 1}}\n")
    assert find_dataset(project, "one")[1].path == "config/datasets/one.yaml"
    for name, said in (
        ("three", "there is no config/datasets/three.yaml; there are: mixed, one, two"),
        ("two", "no_such_function is not built in"),
        ("mixed", "config/datasets/mixed.yaml: is a mixture: look at what it mixes, one"),
    ):
        with pytest.raises(HeirloomError) as caught:
            find_dataset(project, name)
        assert said in str(caught.value)
