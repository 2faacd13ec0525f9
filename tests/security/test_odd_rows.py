"""What anybody's dataset costs has limits: a row that goes beyond them is a bad row, told with its file and number."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from work_done import watchdog

from heirloom.data.chats.message_forms import read_json
from heirloom.data.raw import text_files
from heirloom.data.raw.data_folders import find_raw_files
from heirloom.data.raw.raw_files import read_rows
from heirloom.data.raw.row_counts import count_rows
from heirloom.data.raw.text_files import DEEPEST, UnreadableRow, is_deep
from heirloom.errors import HeirloomError
from heirloom.inference.prompts_file import read_row

LIMIT = 1000
GOOD, LONG = '{"a": 1}\n', json.dumps({"a": "x" * 5 * LIMIT}) + "\n"


def read(folder: Path, name: str, content: str | bytes) -> tuple[list[int], dict[int, str]]:
    """Return the numbers of the good rows of a file, and what is wrong with the others."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (file,) = find_raw_files(folder)
    rows = dict(read_rows(file))
    bad = {number: row.problem for number, row in rows.items() if isinstance(row, UnreadableRow)}
    return [number for number in rows if number not in bad], bad


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have rows limited to LIMIT characters."""
    monkeypatch.setattr(text_files, "LONGEST_ROW", LIMIT)
    monkeypatch.setattr(text_files, "SLICE", 64)


ENDLESS = [
    ("a.jsonl", GOOD + LONG + GOOD, [1, 3], {2: "is longer than 999 characters"}),
    ("a.jsonl", GOOD + LONG.rstrip() * 3, [1], {2: "is longer than 999 characters"}),
    ("a.jsonl.gz", gzip.compress((GOOD + LONG + GOOD).encode()), [1, 3], {2: "is longer than 999 characters"}),
    ("a.txt", "one\n" + "x" * 2000 + "\r\nthree\n" + "y" * 998 + "\n", [1, 3, 4], {2: "is longer than 999 characters"}),
    (
        "a.csv",
        "a,b\n1,2\n3," + "x" * 2000 + "\n5,6\n",
        [1],
        {2: "a line is longer than 999 characters; nothing from here on could be read"},
    ),
    (
        "a.csv",
        'a,b\n1,2\n3,"' + "x\n" * 900 + '"\n5,6\n',
        [1],
        {2: "lines 3 to 503: a value is longer than 999 characters; nothing from here on could be read"},
    ),
    ("a.json", f"[{GOOD},{GOOD},{LONG},{GOOD}]", [1, 2, 4], {3: "is longer than 999 characters"}),
    (
        "a.json",
        '[{"a": 1}, {"a": ' + "x" * (3 << 20),
        [1],
        {2: "is longer than 999 characters; nothing from here on could be read"},
    ),
]


@pytest.mark.parametrize("number", range(len(ENDLESS)))
def test_a_row_without_end_is_a_bad_row(tmp_path: Path, short: None, number: int) -> None:
    """The attack: an archive of 3 MB that is one line of 3 GB took all memory."""
    name, content, good, bad = ENDLESS[number]
    assert read(tmp_path, name, content) == (good, bad)


@pytest.mark.parametrize("header", [b"a,\xff\n", b"\xed\xa0\xbd,a\n"])
def test_a_header_that_is_no_text_is_told(tmp_path: Path, header: bytes) -> None:
    """Found by fuzz_datasets.py: the name of a column went on, to end the stage where a row is written as JSON."""
    with pytest.raises(
        HeirloomError, match=r"a\.csv: its header is not UTF-8: byte 0x.*; save the file as UTF-8 again"
    ):
        read(tmp_path, "a.csv", header + b"1,2\n")


def test_an_archive_does_not_unpack_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MOST_UNPACKED", 1 << 20)
    lines = (b"x" * 999 + b"\n") * 8000
    with pytest.raises(HeirloomError, match=r"a\.txt\.gz: cannot be read \(it unpacks to more than .* times its size"):
        read(tmp_path, "a.txt.gz", gzip.compress(lines))
    assert count_rows(find_raw_files(tmp_path)) is None
    monkeypatch.setattr(text_files, "HIGHEST_RATIO", 2000)  # as it may: text has a ratio of 3 to 30
    assert read(tmp_path, "a.txt.gz", gzip.compress(lines))[0] == list(range(1, 8001))


def nested(levels: int) -> str:
    """Return a row as JSON with lists in each other; the row itself is the first of so many levels."""
    return '{"a": ' + "[" * (levels - 1) + "1" + "]" * (levels - 1) + "}"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("levels", [DEEPEST + 1, 900, 995, 1000, 100_000])
def test_nesting_has_an_end_before_that_of_python(tmp_path: Path, name: str, levels: int) -> None:
    """What is read just so runs into the limit later, where a chat template or a JSON writer goes through it."""
    good, bad = read(tmp_path, name, f"{nested(DEEPEST)}\n{nested(levels)}\n")
    assert good == [1] and list(bad) == [2] and bad[2].startswith("is nested too deep to be read")


def test_many_lists_beside_each_other_are_not_deep(tmp_path: Path) -> None:
    assert read(tmp_path, "a.jsonl", json.dumps({"a": [[]] * 5000, "b": "[{" * 500})) == ([1], {})
    assert not is_deep(7) and not is_deep([{}]) and is_deep(json.loads(nested(DEEPEST + 1)))


@pytest.mark.parametrize("text", [nested(100_000), "[" * 100_000])
def test_json_in_a_column_is_refused_where_it_is_nested_too_deep(text: str) -> None:
    with pytest.raises(ValueError, match="'tools' must be JSON, and is nested too deep"):
        read_json(text, "'tools'")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_json_in_arrow_files_has_the_limits_of_rows(tmp_path: Path, name: str) -> None:
    values = ['{"b": 1}', nested(100_000), "9" * 5000, "no JSON", nested(DEEPEST + 1)]
    features = {"info": {"features": {"a": {"_type": "Json"}}}}
    schema = pyarrow.schema([("a", pyarrow.string())], metadata={"huggingface": json.dumps(features)})
    write(tmp_path / name, pyarrow.table([values], schema=schema))
    rows = [row for _, row in read_rows(find_raw_files(tmp_path)[0])]
    assert [rows[0], rows[3]] == [{"a": {"b": 1}}, {"a": "no JSON"}]
    deep = UnreadableRow("column 'a' is nested too deep to be read")
    assert rows[1] == rows[4] == deep and rows[2].problem.startswith("column 'a' holds a number that is too long")


@pytest.mark.parametrize(
    "noted", ["[" * 100_000, "9" * 5000, "[1]", '{"info": [1]}', '{"info": {"features": [1]}}', "x"]
)
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_odd_notes_in_arrow_files_are_told_in_a_sentence(tmp_path: Path, name: str, noted: str) -> None:
    schema = pyarrow.schema([("a", pyarrow.string())], metadata={"huggingface": noted})
    write(tmp_path / name, pyarrow.table([["x"]], schema=schema))
    with pytest.raises(HeirloomError, match=rf"{name}: .*; save it again"):
        list(read_rows(find_raw_files(tmp_path)[0]))


def test_arrow_streams_that_contradict_themselves_lead_nowhere(tmp_path: Path) -> None:
    """Found by fuzz_datasets.py: a length that is none was believed, and memory beyond the file was looked at."""
    write(tmp_path / "a.arrow", pyarrow.table({"a": ["one", "two", "three", "four"]}))
    content = (tmp_path / "a.arrow").read_bytes()
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 3, 6, 11, 15))
    assert content.count(offsets) == content.count(b"onetwothreefour") == 1
    changed = content.replace(offsets, offsets[:8] + (900_000).to_bytes(4, "little") + offsets[12:])
    good, bad = read(tmp_path, "a.arrow", changed)
    assert good == [1, 4] and list(bad) == [2, 3] and all("column 'a' cannot be read" in each for each in bad.values())
    good, bad = read(tmp_path, "a.arrow", content.replace(b"onetwo", b"one\xfft\xff"))
    assert good == [1, 3, 4] and list(bad) == [2]
    write(tmp_path / "a.arrow", pyarrow.table({"a": [["one"], ["two"]]}))
    content = (tmp_path / "a.arrow").read_bytes()
    with pytest.raises(HeirloomError, match="a.arrow: is not a readable Arrow stream"):
        read(tmp_path, "a.arrow", content.replace(b"onetwo", b"one\xfft\xff"))


def write(path: Path, table: pyarrow.Table) -> None:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)


COLUMNS = [f"column{number}" for number in range(120_000)]
LARGE = {
    "columns": ("a.jsonl", json.dumps(dict.fromkeys(COLUMNS, 1)), [1]),
    "columns of CSV": ("a.csv", f"{','.join(COLUMNS)}\n{','.join(COLUMNS)}\n", [1]),
    "spaces": ("a.json", "[" + " " * 2_000_000 + '{"a": 1}' + "\n" * 2_000_000 + "]", [1]),
    "halves of escapes": ("a.jsonl", json.dumps({"a": "\U0001f600" * 100_000}), [1]),
    "quotes": ("a.csv", "a\n" + '"x""\n' * 20_000 + '"\n', []),
    "numbers": ("a.jsonl", json.dumps({"a": [9] * 200_000}), [1]),
}


@pytest.mark.parametrize("name", LARGE)
def test_reading_does_not_take_columns_times_length(tmp_path: Path, name: str) -> None:
    """A row with many columns took their number times its length: 7 s for 30,000 of them, and so 112 s for these."""
    file, content, good = LARGE[name]
    with watchdog():
        found, _ = read(tmp_path, file, content)
    assert found[: len(good)] == good


def test_columns_that_occur_twice_are_found_among_many(tmp_path: Path) -> None:
    row = json.dumps(dict.fromkeys(COLUMNS[:1000], {"column1": 1}))
    assert read(tmp_path, "a.jsonl", f'{row}\n{row[:-1]}, "column7": 1}}\n') == (
        [1],
        {2: "has two columns of the name column7"},
    )


@pytest.mark.parametrize("line", [b"9" * 5000, b"[" * 100_000, nested(100_000).encode(), nested(990).encode()])
def test_a_file_of_prompts_has_the_limits_of_rows(line: bytes) -> None:
    row, problems = read_row(line)
    assert row == {} and len(problems) == 1
