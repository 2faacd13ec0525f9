"""Every format gives the same rows, and none is lost silently."""

import gzip
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from heirloom.data.raw import json_rows, text_files
from heirloom.data.raw.data_folders import find_raw_files
from heirloom.data.raw.raw_files import read_rows
from heirloom.data.raw.row_counts import count_rows
from heirloom.data.raw.text_files import UnreadableRow
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
    monkeypatch.setattr(json_rows, "CHUNK", chunk)
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
        ("a.csv", 'a,b\n1,x\n2,"y\n3,z\n4,w\n', [1], {2: "a quote does not end: lines 3 to 5 are one value"}),
        (
            "a.tsv",
            'a\tb\n1\t"Hello, he said\n2\tfoo\n3\t"bar\n4\tbaz',
            [2],
            {1: "a quote ends inside a value, in lines 2 to 4"},
        ),
        ("a.csv", 'a,b\n1,"two\nlines, ""quoted"""\n2,x\n', [1, 2], {}),
        ("a.csv", b"a,b\n1,2\n3,\xe9\n".decode("utf-8", "surrogateescape"), [1], {2: "is not UTF-8: byte 0xe9"}),
        (
            "a.jsonl",
            b'{"a": 1}\n{"a": "\xff"}\n{"a": 3}\n'.decode("utf-8", "surrogateescape"),
            [1, 3],
            {2: "is not UTF-8: byte 0xff at character 8"},
        ),
        ("a.txt", b"one\nt\xffo\n".decode("utf-8", "surrogateescape"), [1], {2: "is not UTF-8"}),
        (
            "a.jsonl",
            '{"a": "Hi \\ud83d there"}\n{"a": "\\ud83d\\ude00"}\n{"b": [{"c": "\\udc00"}]}\n',
            [2],
            {1: r"column 'a' has half of a character: \ud83d", 3: "column 'b' has half of a character"},
        ),
        ("a.json", '[{"a": "\\ud83d"}, {"a": "\\ud83d\\ude00"}]', [2], {1: "column 'a' has half of a character"}),
        (
            "a.jsonl",
            '{"n": ' + "1" * 5000 + '}\n{"a": ' + "[" * 100_000 + '\n{"a": 1}\n',
            [3],
            {1: "holds a number that is too long", 2: "is nested too deep"},
        ),
        ("a.json", '[{"a": 1}, {"n": ' + "1" * 5000 + "}]", [1], {2: "nothing from here on could be read"}),
        (
            "a.jsonl",
            '{"a": 1, "a": 2}\n{"a": {"a": 1}}\n{"a": 1, "b": {"c": 1, "c": 2}}\n',
            [2, 3],
            {1: "has two columns of the name a"},
        ),
        ("a.jsonl", '{"a" : 1, "b": 2, "a" : 3}\n{"a": "a", "b": {"b": 1}}\n', [2], {1: "two columns of the name a"}),
        ("a.json", '[{"b": 1}, {"a": 1, "a": 2}, {"c": "c"}]', [1, 3], {2: "has two columns of the name a"}),
    ],
)
@pytest.mark.parametrize("piece", [1 << 20, 3])
def test_broken_rows_stand_in_their_place(tmp_path, monkeypatch, name, content, good, bad, piece):
    """Whether they are read as lines of text, or in pieces as long ones are."""
    monkeypatch.setattr(text_files, "SLICE", piece)
    monkeypatch.setattr(json_rows, "CHUNK", piece)
    (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    (file,) = find_raw_files(tmp_path)
    rows = dict(read_rows(file))
    problems = {number: row.problem for number, row in rows.items() if isinstance(row, UnreadableRow)}
    assert [number for number in rows if number not in problems] == good
    assert list(problems) == list(bad) and all(bad[number] in problem for number, problem in problems.items())


ODD_ROWS = [
    {"a": 'x\\" \\\\', "b": [[{}], {"a": "]}"}], "ä": "\U0001f600\u2028\x7f", "c": [1e400, -0.0, 1e-7, 10**30, None]},
    {"a": " \r\n", "": {"": [True, False]}, "d": "{[", "e": "\\u0041"},
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("as_ascii", [True, False])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_row_is_the_same_in_pieces_of_any_size(tmp_path, monkeypatch, name, as_ascii, end):
    lines = [json.dumps(row, ensure_ascii=as_ascii) for row in ODD_ROWS]
    text = end.join(lines) + end if name == "a.jsonl" else f"[{f',{end}'.join(lines)}]"
    (tmp_path / name).write_bytes(text.encode())
    (file,) = find_raw_files(tmp_path)
    for piece in (1 << 20, *range(1, 12), *(len(line) + more for line in lines for more in (0, 1, 2))):
        monkeypatch.setattr(text_files, "SLICE", piece)
        monkeypatch.setattr(json_rows, "CHUNK", piece)
        assert [(number, repr(row)) for number, row in read_rows(file)] == [
            (number, repr(json.loads(line))) for number, line in enumerate(lines, 1)
        ]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b"PAR1 no"), ("a.jsonl", "{}".encode("utf-16")), ("a.jsonl.gz", b"no gzip"), ("a.arrow", b"no")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (file,) = find_raw_files(tmp_path)
    with pytest.raises(HeirloomError, match=rf"{name}: .*again"):
        list(read_rows(file))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.arrow"])
def test_two_columns_of_one_name_are_refused(tmp_path, name):
    table = pyarrow.table([["one"], ["two"]], names=["text", "text"])
    if name == "a.csv":
        (tmp_path / name).write_text("text,id,text\none,1,two\n")
    elif name == "a.parquet":
        pyarrow.parquet.write_table(table, tmp_path / name)
    else:
        with pyarrow.ipc.new_stream(tmp_path / name, table.schema) as stream:
            stream.write_table(table)
    with pytest.raises(HeirloomError, match=rf"{name}: has two columns of the name text; rename or delete one"):
        list(read_rows(find_raw_files(tmp_path)[0]))


def test_a_damaged_archive_is_named(tmp_path):
    data = bytearray(gzip.compress(json.dumps({"text": "word " * 2000}).encode(), mtime=0))
    data[30] ^= 255
    data[31] ^= 255
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    with pytest.raises(HeirloomError, match=r"a\.jsonl\.gz: cannot be read .*download or save it again"):
        list(read_rows(find_raw_files(tmp_path)[0]))


def test_a_time_beyond_pythons_years_costs_no_row(tmp_path):
    times = pyarrow.array([0, 400_000_000_000_000_000], pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "at": times}), tmp_path / "a.parquet")
    rows = [row for _, row in read_rows(find_raw_files(tmp_path)[0])]
    assert [row["text"] for row in rows] == ["a", "b"] and rows[0]["at"].year == 1970
    assert rows[1]["at"] == "14645-06-30 15:06:40.000000"


def test_rows_are_read_a_batch_at_a_time(tmp_path):
    """A Parquet file of one big row group, as some writers make it, is not decoded whole."""
    texts = [f"{number} " * 100 for number in range(20_000)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", row_group_size=len(texts))
    before = pyarrow.total_allocated_bytes()
    rows = read_rows(find_raw_files(tmp_path)[0])
    next(rows)
    assert pyarrow.total_allocated_bytes() - before < sum(map(len, texts)) / 2
