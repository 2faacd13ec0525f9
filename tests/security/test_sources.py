"""Datasets and models of strangers: their files stay in their folder, and their names and cards do no harm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from work_done import watchdog

from heirloom.config.parsing.reading import parse_yaml
from heirloom.config.sections.source import DatasetSource, ModelSource
from heirloom.data.raw.hub_datasets import choose_files, declared_configurations, matches
from heirloom.data.raw.raw_sources import fetch_raw
from heirloom.errors import HeirloomError, plain, plain_json
from heirloom.hub import HubFile
from heirloom.models.fetching import MODEL_FILES, fetch

REPOSITORY = Path(__file__).resolve().parents[2]


KEYS = ("../../escaped", "/ANYWHERE/escaped", "a//escaped", "a/../../../escaped", "./escaped")


@pytest.mark.parametrize("number", range(len(KEYS)))
@pytest.mark.parametrize("kind", ["data", "model"])
def test_a_key_of_s3_leads_nowhere_else(s3, tmp_path: Path, number: int, kind: str) -> None:
    prefix, key = f"{kind}{number}", KEYS[number].replace("ANYWHERE", str(tmp_path / "other").strip("/"))
    s3.put_object(Bucket="strangers", Key=f"{prefix}/train.jsonl", Body=b'{"text": "fine"}\n')
    s3.put_object(Bucket="strangers", Key=f"{prefix}/config.json", Body=b"{}")
    s3.put_object(Bucket="strangers", Key=f"{prefix}/{key}.jsonl", Body=b"planted")
    s3.put_object(Bucket="strangers", Key=f"{prefix}/{key}.py", Body=b"planted")
    folder = tmp_path / "work/folder"
    folder.mkdir(parents=True)
    if kind == "data":
        with pytest.raises(HeirloomError, match="no name of a file in a folder"):
            fetch_raw(DatasetSource(s3=f"s3://strangers/{prefix}"), folder)
    else:
        fetch(ModelSource(s3=f"s3://strangers/{prefix}"), folder, MODEL_FILES)  # code counts at the top alone
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == ({"work/folder/config.json"} if kind == "model" else set())


@pytest.mark.parametrize(
    "name", ["tr'; touch PWNED;'.jsonl", "$(touch PWNED).jsonl", "a\x1b]52;c;eA==\x07.jsonl", '"`.csv']
)
def test_a_file_with_a_name_that_acts_is_refused(s3, tmp_path: Path, name: str) -> None:
    prefix = f"names{abs(hash(name))}"
    s3.put_object(Bucket="strangers", Key=f"{prefix}/{name}", Body=b'{"text": "fine"}\n')
    with pytest.raises(HeirloomError, match="characters that act in a shell or a terminal") as error:
        fetch_raw(DatasetSource(s3=f"s3://strangers/{prefix}"), tmp_path)
    assert str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def header(text: str) -> str:
    return f"---\n{text}\n---\n# A dataset\n"


BROKEN_CARDS = {
    "a number": header("configs: 3"),
    "a list of numbers": header("configs: [3]"),
    "no mapping": header("- a"),
    "deep lists": header("a: " + "[" * 100_000),
    "deep entries": header("- " * 100_000),
    "deep keys": header("? " * 100_000),
    "no YAML": header("a: ["),
    "a number as file": header("configs:\n- data_files: [1]"),
    "a number as path": header("configs:\n- data_files:\n  - {split: train, path: 3}"),
    "no split": header("configs:\n- data_files:\n  - {path: '**'}"),
    "no path": header("configs:\n- data_files:\n  - {split: train}"),
}


@pytest.mark.parametrize("name", BROKEN_CARDS)
def test_a_card_in_an_unexpected_form_is_one_sentence(name: str) -> None:
    files = {"data/train.jsonl": HubFile("data/train.jsonl", 1, "", None)}
    with pytest.raises(HeirloomError, match="the dataset card of org/data has a broken header"):
        choose_files(DatasetSource(hub="org/data"), files, declared_configurations(BROKEN_CARDS[name], "org/data"))


def test_no_card_and_no_pattern_goes_on_for_ever() -> None:
    with watchdog():
        assert declared_configurations("---" + "\n" * 400_000, "org/data") == {}
        assert not matches("a" * 4000 + ".jsonl", ["*a" * 40 + "b"])
        assert not matches("/".join("a" * 300), ["**/a/" * 100 + "b"])


PATTERNS = {
    "**": ["data/train.jsonl", "train.jsonl", "data/a/b/train-1.parquet", "data/x.csv"],
    "*.jsonl": ["train.jsonl"],
    "data/*": ["data/train.jsonl", "data/x.csv"],
    "data/**": ["data/train.jsonl", "data/a/b/train-1.parquet", "data/x.csv"],
    "**/train*": ["data/train.jsonl", "train.jsonl", "data/a/b/train-1.parquet"],
    "data/**/*.parquet": ["data/a/b/train-1.parquet"],
    "data/[!t]*": ["data/x.csv"],
    "data/*/b/*": ["data/a/b/train-1.parquet"],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mean_what_they_meant(pattern: str) -> None:
    import re

    from fsspec.utils import glob_translate

    found = [path for path in PATTERNS["**"] if matches(path, [pattern])]
    assert found == PATTERNS[pattern]
    assert found == [path for path in PATTERNS["**"] if re.match(glob_translate(pattern), path)]


@pytest.mark.parametrize("text", ["a: " + "[" * 100_000, "a: " + "{a: " * 100_000, "- " * 100_000])
def test_a_config_that_is_nested_without_end_is_one_sentence(text: str) -> None:
    with pytest.raises(HeirloomError, match="nested more than"):
        parse_yaml(text, "config/runs/odd.yaml")


ESCAPES = "a\x1b]52;c;ZXZpbA==\x07b\x1b[2Jc\x9b1Ad\u202ee\r"


def test_a_link_in_a_models_folder_brings_no_other_file(tmp_path: Path) -> None:
    """The attack: a folder with tokenizer_x → ~/.aws/credentials, which would be copied, recorded and pushed."""
    folder = tmp_path / "hub/snapshots/0123"
    (tmp_path / "hub/blobs").mkdir(parents=True)
    folder.mkdir(parents=True)
    (tmp_path / "hub/blobs/aa").write_text("{}")
    (folder / "tokenizer.json").symlink_to("../../blobs/aa")  # as the Hub's own cache has it
    fetch(ModelSource(path=str(folder)), tmp_path / "copied", MODEL_FILES + ("tokenizer*",))
    assert (tmp_path / "copied/tokenizer.json").read_text() == "{}"
    (tmp_path / "credentials").write_text("mine")
    (folder / "tokenizer_x").symlink_to(tmp_path / "credentials")
    with pytest.raises(HeirloomError, match="tokenizer_x is a link to .*credentials, which is no part of the model"):
        fetch(ModelSource(path=str(folder)), tmp_path / "again", MODEL_FILES + ("tokenizer*",))
    assert "credentials" not in str(list((tmp_path / "again").iterdir()))


def test_nothing_that_acts_on_a_terminal_is_printed() -> None:
    assert plain(f"ä🙂\n\t{ESCAPES}") == "ä🙂\n\ta\\x1b]52;c;ZXZpbA==\\x07b\\x1b[2Jc\\x9b1Ad\\x202ee\\x0d"
    assert str(HeirloomError(ESCAPES)).isprintable()


def test_a_trace_shows_escapes_as_text() -> None:
    from rich.console import Console
    from rich.tree import Tree

    from pipeline.provenance.trace_tree import add_values

    tree = Tree("generated")
    add_values(tree, {"prompt": ESCAPES, "list": [ESCAPES]})
    console = Console(width=200, force_terminal=True, color_system=None)
    with console.capture() as shown:
        console.print(tree)
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown.get())


def test_a_trace_as_json_escapes_what_acts_and_says_the_same() -> None:
    value = {"prompt": f"日本 {ESCAPES}\ud800"}
    said = plain_json(value)
    assert said.replace("\n", "").isprintable() and "日本" in said and json.loads(said) == value


def test_answers_in_the_table_of_scores_show_escapes_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    import show_scores

    monkeypatch.chdir(tmp_path)
    Path("generations/x").mkdir(parents=True)
    row = {"row_id": "a:1", "prompt": ESCAPES, "completion": ESCAPES, "reference": None}
    Path("generations/x/generations.jsonl").write_text(json.dumps(row) + "\n")
    assert all(str(line).isprintable() for line in show_scores.sample_answers(["x"]))


@pytest.mark.parametrize(
    "row", ["tr'; touch PWNED; '.jsonl:1", "$(shell touch PWNED)", "$(touch PWNED)", '`touch PWNED`"']
)
def test_the_row_of_make_trace_is_one_word(tmp_path: Path, row: str) -> None:
    (tmp_path / "Makefile").write_text((REPOSITORY / "Makefile").read_text())
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/trace_generation.py").write_text("import sys\nprint(sys.argv[1:])\n")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    command = ["make", "--no-print-directory", "trace", f"ROW={row}"]  # `make test` may be around it
    done = subprocess.run([*command, "RUN=x"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{['generations/x', row]}\n", done.stderr
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "name the run: make trace RUN=demo-sft ROW=1" in done.stderr
    assert not (tmp_path / "PWNED").exists()
