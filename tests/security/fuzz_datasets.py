"""Dataset files that are nearly right: each row is a row or an unreadable one, or the file is refused in a sentence."""

import gzip
import io
import json
import random
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
from fuzzing import by_hand, mutated

from heirloom.data.raw.raw_files import RawFile, read_rows
from heirloom.data.raw.text_files import UnreadableRow, is_deep
from heirloom.errors import HeirloomError

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"How? {number} é 😀"},
            {"role": "assistant", "content": 'A "b".\n'},
        ]
    }
    for number in range(5)
]
FLAT = [{"a": f"{number}", "b": 'x, "y"\nz é', "c": None} for number in range(5)]
TABLE = pyarrow.Table.from_pylist([{**row, "n": number, "f": 0.5} for number, row in enumerate(ROWS)])


def parquet() -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, sink)
    return sink.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, TABLE.schema) as stream:
        stream.write_table(TABLE)
    return sink.getvalue()


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
CSV = "a,b\n" + "".join('{},"{}"\n'.format(row["a"], row["b"].replace('"', '""')) for row in FLAT)
SEEDS = {
    "a.jsonl": JSONL,
    "a.json": json.dumps(ROWS, ensure_ascii=False, indent=1).encode(),
    "a.csv": CSV.encode(),
    "a.tsv": CSV.replace(",", "\t").encode(),
    "a.txt": "one\ntwo é\r\n\nthree".encode(),
    "a.jsonl.gz": gzip.compress(JSONL, mtime=0),
}
BINARY = {"a.parquet": parquet(), "a.arrow": arrow()}


def read(name: str, content: bytes) -> None:
    """Read a file as the workflow does, and look at what comes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        before = 0
        try:
            for number, row in read_rows(RawFile(path, name, "train")):
                assert number > before
                before = number
                if isinstance(row, UnreadableRow):
                    assert row.problem
                else:
                    assert not is_deep(row) and all(isinstance(column, str) for column in row)
                    json.dumps(row, ensure_ascii=False, default=str).encode()
        except HeirloomError as error:
            assert name in str(error)


def attack_text(chance: random.Random) -> None:
    name = chance.choice(list(SEEDS))
    read(name, mutated(SEEDS[name], chance))


def attack_packed(chance: random.Random) -> None:
    """What is wrong is inside a right archive."""
    read("a.jsonl.gz", gzip.compress(mutated(JSONL, chance), mtime=0))


def attack_binary(chance: random.Random) -> None:
    name = chance.choice(list(BINARY))
    read(name, mutated(BINARY[name], chance))


ATTACKS = {"text": attack_text, "packed": attack_packed, "binary": attack_binary}

if __name__ == "__main__":
    by_hand(ATTACKS)
