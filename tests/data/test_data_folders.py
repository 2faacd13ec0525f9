"""Only what is known to be data is read, and what is not is named."""

import json

import datasets
import pytest

from heirloom.data.raw.data_folders import find_raw_files, recorded_hub
from heirloom.data.raw.raw_files import read_rows
from heirloom.errors import HeirloomError


def rows_in(folder):
    return [row["text"] for file in find_raw_files(folder) for _, row in read_rows(file)]


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(json.dumps({"text": name}) + "\n")


def test_a_saved_folder_says_what_its_data_is(tmp_path, capsys):
    """`map` and `filter` leave cache files beside the data; the state file does not name them."""
    folder = tmp_path / "saved"
    datasets.Dataset.from_list([{"text": f"row {n}"} for n in range(3)]).save_to_disk(folder)
    loaded = datasets.load_from_disk(folder)
    loaded.map(lambda row: {"text": row["text"].upper()})
    loaded.filter(lambda row: row["text"] != "row 1")
    assert len(list(folder.glob("cache-*.arrow"))) == 2
    assert rows_in(folder) == ["row 0", "row 1", "row 2"]
    assert "not read" not in capsys.readouterr().err  # they are known to be no data

    (folder / "more.arrow").write_bytes(b"")
    assert rows_in(folder) == ["row 0", "row 1", "row 2"]
    assert "not read" in (told := capsys.readouterr().err) and "more.arrow" in told

    (folder / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(HeirloomError, match=r"state\.json: lists data-00000-of-00001\.arrow, which is not there"):
        find_raw_files(folder)


def test_a_choice_of_rows_of_an_old_version_is_refused(tmp_path):
    write(tmp_path, "data.arrow")
    noted = {"_data_files": [{"filename": "data.arrow"}], "_indices_data_files": [{"filename": "indices.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(noted))
    with pytest.raises(HeirloomError, match="saved as a choice of rows"):
        find_raw_files(tmp_path)


@pytest.mark.parametrize("other", ["train.csv", "notes.txt", "more/train.json"])
def test_files_of_several_formats_are_refused(tmp_path, other):
    write(tmp_path, "train.jsonl", other)
    with pytest.raises(HeirloomError, match="perhaps the same rows twice, or files that are no data") as refused:
        find_raw_files(tmp_path)
    assert "train.jsonl" in str(refused.value) and other in str(refused.value)


def test_formats_that_source_json_lists_may_be_mixed(tmp_path):
    write(tmp_path, "train.jsonl", "test.json")
    files = [{"path": "train.jsonl", "split": "train"}, {"path": "test.json", "split": "test"}]
    (tmp_path / "source.json").write_text(json.dumps({"source": {"hub": "a/b"}, "files": files}))
    assert [file.split for file in find_raw_files(tmp_path)] == ["test", "train"]


def test_what_is_not_read_is_named(tmp_path, capsys):
    write(tmp_path, "a.jsonl", "b.jsonl.zst", "c.jsonl.xz", "LICENSE.txt", "README.md", "license.txt")
    assert rows_in(tmp_path) == ["a.jsonl"]
    assert "b.jsonl.zst, c.jsonl.xz; known are" in (told := capsys.readouterr().err) and "LICENSE" not in told
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(HeirloomError, match="holds no data file"):
        find_raw_files(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"text": "one"}]', "must be an object that describes the dataset, found list"),
        ('{"text": "one"}\n{"text": "two"}', "is not JSON"),
        ('{"files": 3}', "is no note of download_dataset.py"),
        ('{"files": [{"name": "train.jsonl"}]}', "is no note of download_dataset.py"),
    ],
)
def test_a_data_file_named_like_the_note_is_told(tmp_path, content, problem):
    write(tmp_path, "train.jsonl")
    (tmp_path / "source.json").write_text(content)
    for read in (find_raw_files, recorded_hub):
        with pytest.raises(HeirloomError, match=rf"source\.json: {problem}.*another name"):
            read(tmp_path)


def test_splits_come_from_source_json_or_from_names(tmp_path):
    names = ["train.jsonl", "data/test-00000-of-00002.jsonl", "dev/part.jsonl", "valid.jsonl", "latest.jsonl"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/train.jsonl").write_text("{}\n")
    splits = {file.name: file.split for file in find_raw_files(tmp_path)}
    assert splits == dict(zip(names, ["train", "test", "validation", "validation", "train"], strict=True))

    (tmp_path / "source.json").write_text(json.dumps({"files": [{"path": "latest.jsonl", "split": "test"}]}))
    assert {file.name: file.split for file in find_raw_files(tmp_path)}["latest.jsonl"] == "test"


@pytest.mark.parametrize("name", ["nothing-there", "a.docx", "empty"])
def test_no_data_is_a_clear_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.docx").write_text("")
    with pytest.raises(HeirloomError, match=rf"{name}: (there is no such|unknown kind|holds no data)"):
        find_raw_files(tmp_path / name)
