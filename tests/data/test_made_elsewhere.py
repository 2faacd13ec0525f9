"""A processed dataset from elsewhere: taken over byte by byte where it is what it says, else refused in a sentence."""

import functools
import json
import shutil
from pathlib import Path

import chat_templates
import pytest
from transformers import AutoTokenizer

from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.dataset_creation import create_dataset
from heirloom.data.made_elsewhere import take_over
from heirloom.errors import HeirloomError

TURNS = [{"role": "user", "content": "How many legs?"}, {"role": "assistant", "content": "Eight."}]
ROWS = {
    "chat": [{"messages": [{"role": "user", "content": f"How many legs? {n}"}, TURNS[1]]} for n in range(1100)],
    "preference": [{"prompt": f"Legs {n}? ", "chosen": "Eight.", "rejected": "Two."} for n in range(20)],
    "text": [{"text": f"A spider has eight legs, {n} times."} for n in range(20)],
    "seq2seq": [{"source": f"Legs {n}?", "target": "Eight."} for n in range(20)],
}
FUNCTIONS = {
    "chat": "dummy_processing_function", "preference": "dummy_rlhf_processing_function",
    "text": "plain_text_processing_function", "seq2seq": "seq2seq_processing_function",
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path, tmp_path_factory) -> Path:
    """The data tests' tokenizer, with a chat template."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = chat_templates.CHATML
    folder = tmp_path_factory.mktemp("with-template")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made_before(tokenizer: Path, tmp_path_factory):
    """Return a function that makes a processed dataset of a kind once, as create_dataset.py does."""

    @functools.cache
    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[kind]))
        section = ProcessingSection(processing_function=FUNCTIONS[kind], max_length=64, test_rows=4)
        create_dataset(folder / "rows.jsonl", tokenizer, section, folder / "made")
        return folder / "made"

    return make


@pytest.fixture
def made(made_before, tmp_path: Path):
    """Return a function that gives a copy of such a dataset."""
    return lambda kind: Path(shutil.copytree(made_before(kind), tmp_path / "made"))


@pytest.mark.parametrize("kind", ROWS)
def test_its_rows_keys_and_facts_come_over_to_the_byte(made, tokenizer: Path, tmp_path: Path, kind: str) -> None:
    folder = made(kind)
    (folder / "preview.html").write_text("<script>somebody else's</script>")
    metrics = take_over(folder, tokenizer, kind, tmp_path / "taken", tmp_path / "metrics.json")
    files = names_below(folder)
    assert files == names_below(tmp_path / "taken")
    for name in files - {"preview.html"}:
        assert (tmp_path / "taken" / name).read_bytes() == (folder / name).read_bytes(), name
    assert "<script>" not in (tmp_path / "taken/preview.html").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    facts = json.loads((folder / "dataset.json").read_text())["splits"]
    assert {split: counts["rows_out"] for split, counts in metrics.items()} == {
        split: described["rows"] for split, described in facts.items()
    }
    assert metrics["train"]["tokens_trained_on"] > 0 and metrics["train"]["rows_dropped"] == 0


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def cut_short(folder: Path) -> None:
    file = next((folder / "train").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:-400])


def exchanged(folder: Path) -> None:
    shutil.copy(next((folder / "test").glob("*.arrow")), next((folder / "train").glob("*.arrow")))


def lost(folder: Path) -> None:
    next((folder / "train").glob("*.arrow")).unlink()


def described_otherwise(key: str, value):
    def edit(folder: Path) -> None:
        facts = json.loads((folder / "dataset.json").read_text())
        facts[key] = {**facts[key], **value} if isinstance(value, dict) else value
        (folder / "dataset.json").write_text(json.dumps(facts))

    return edit


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut_short, "train: its rows are not those that dataset.json describes"),
        (exchanged, "train: its rows are not those that dataset.json describes"),
        (lost, "train: its rows are not those that dataset.json describes"),
        (lambda folder: (folder / "dataset.json").unlink(), "is no processed dataset (no dataset.json)"),
        (lambda folder: (folder / "dataset.json").write_text("{}"), "says nothing of kind, max_length"),
        (described_otherwise("kind", "chat"), "holds chat rows: write source.kind: chat, not text"),
        (described_otherwise("tokenizer", {"eos_token": "<end>"}), "(eos_token <end> there, </s> here): name in"),
        (described_otherwise("splits", {"../x": {}}), "expected the splits train and perhaps test, found others"),
    ],
)  # fmt: skip
def test_what_is_not_what_it_says_is_refused(made, tokenizer: Path, tmp_path: Path, harm, said: str) -> None:
    folder = made("text")
    harm(folder)
    with pytest.raises(HeirloomError) as caught:
        take_over(folder, tokenizer, "text", tmp_path / "taken")
    assert said in str(caught.value)
    assert not (tmp_path / "taken").exists()


def test_the_stage_takes_it_over(made, tokenizer: Path, tmp_path: Path, run_script) -> None:
    folder = made("seq2seq")
    config = tmp_path / "dataset.yaml"
    config.write_text(f"source:\n  processed: {folder}\n  kind: seq2seq\n")
    words = ("--config", config, "--sections", "source", "--raw", folder, "--tokenizer", tokenizer)
    done = run_script("create_dataset.py", *words, "--output", tmp_path / "taken", "--statistics", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/taken/train: 16 rows, " in done.stdout
