"""Every format gives the same rows, and none is lost silently."""

import gzip
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from heirloom.data.raw import raw_files
from heirloom.data.raw.raw_files import UnreadableRow, find_raw_files, read_rows
from heirloom.data.raw.row_counts import count_rows
from heirloom.errors import HeirloomError

ROWS = [{"text": 'one, “two”\n"three"'}, {"text": "日本"}, {"text": ""}]


def write(path, rows):
    """Write rows in the format of the path's name, by other people's code."""
    name = path.name
    if name.endswith((".jsonl", ".jsonl.gz")):
        data = "".join(json.dumps(row) + "\n\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8-sig")
    elif name.endswith((".csv", ".parquet")):
        table = datasets.Dataset.from_list(rows)
        table.to_csv(path) if name.endswith(".csv") else table.to_parquet(path)
    elif name == "saved":
        datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.parquet", "saved"])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_every_format_gives_the_rows(tmp_path, name, chunk, monkeypatch):
    monkeypatch.setattr(raw_files, "CHUNK", chunk)
    (file,) = find_raw_files(write(tmp_path / name, ROWS))
    rows = list(read_rows(file))
    assert [row for _, row in rows] == ROWS and file.split == "train"
    # lines are counted where rows are lines, also the empty ones
    assert [number for number, _ in rows] == ([1, 3, 5] if ".jsonl" in name else [1, 2, 3])


@pytest.mark.parametrize(
    ("name", "counted"),
    [("a.jsonl", 6), ("a.jsonl.gz", 6), ("a.json", None), ("a.csv", 4), ("a.parquet", 3), ("saved", None)],
)
def test_rows_are_counted_about_and_before_they_are_read(tmp_path, name, counted):
    """Lines with nothing on them count, and both lines of a value that has two."""
    (file,) = find_raw_files(write(tmp_path / name, ROWS))
    assert count_rows([file]) == counted
    assert count_rows([file, file], first_rows=2) == (None if counted is None else 4)
    assert counted is None or counted >= len(list(read_rows(file)))


def test_a_last_line_without_an_end_counts_and_an_unreadable_file_is_for_its_reader_to_tell(tmp_path):
    whole = tmp_path / "train.txt"
    whole.write_text("one\ntwo")
    (file,) = find_raw_files(whole)
    assert count_rows([file]) == 2
    broken = tmp_path / "broken.txt.gz"
    broken.write_bytes(gzip.compress(b"one\ntwo\n")[:-12])
    assert count_rows([file, *find_raw_files(broken)]) is None
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    assert count_rows(find_raw_files(tmp_path / "x.parquet")) is None


def test_plain_text_is_one_text_a_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"first\r\n\n  second\nlast")
    (file,) = find_raw_files(tmp_path)
    assert list(read_rows(file)) == [(1, {"text": "first"}), (3, {"text": "  second"}), (4, {"text": "last"})]


@pytest.mark.parametrize(
    ("name", "content", "good", "bad"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n[3]\n{"a": 4}\n', [1, 4], {2: "is not JSON", 3: "expected an object"}),
        ("a.json", '[{"a": 1}, 2, {"a": 3}]', [1, 3], {2: "expected an object"}),
        ("a.json", '[{"a": 1}, {"a": }, {"a": 3}]', [1], {2: "nothing from here on could be read"}),
        ("a.json", '[{"a": 1}', [1], {2: "the array does not end"}),
        ("a.json", '[{"a": 1}] {"a": 2}', [1], {2: "nothing after the array"}),
        ("a.json", '{"a": 1}\n{"a": 2}', [1, 2], {}),
        ("a.csv", "a,b\n1,2\n3\n4,5,6\n", [1], {2: "2 values", 3: "2 values"}),
    ],
)
def test_broken_rows_stand_in_their_place(tmp_path, name, content, good, bad):
    (tmp_path / name).write_text(content, encoding="utf-8")
    (file,) = find_raw_files(tmp_path)
    rows = dict(read_rows(file))
    problems = {number: row.problem for number, row in rows.items() if isinstance(row, UnreadableRow)}
    assert [number for number in rows if number not in problems] == good
    assert list(problems) == list(bad) and all(bad[number] in problem for number, problem in problems.items())


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b"PAR1 no"), ("a.jsonl", b'{"a": "\xff"}\n'), ("a.jsonl.gz", b"no gzip"), ("a.arrow", b"no")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (file,) = find_raw_files(tmp_path)
    with pytest.raises(HeirloomError, match=rf"{name}: .*again"):
        list(read_rows(file))


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


def test_rows_are_read_a_batch_at_a_time(tmp_path):
    """A Parquet file of one big row group, as some writers make it, is not decoded whole."""
    texts = [f"{number} " * 100 for number in range(20_000)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", row_group_size=len(texts))
    before = pyarrow.total_allocated_bytes()
    rows = read_rows(find_raw_files(tmp_path)[0])
    next(rows)
    assert pyarrow.total_allocated_bytes() - before < sum(map(len, texts)) / 2
