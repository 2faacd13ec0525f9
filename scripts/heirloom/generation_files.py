"""generations/RUN/: the file of generated answers, generations.jsonl or generations.parquet, one row an answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from heirloom.errors import HeirloomError

NAMES = {"jsonl": "generations.jsonl", "parquet": "generations.parquet"}


def write_generations(rows: Sequence[dict[str, Any]], folder: Path, form: Literal["jsonl", "parquet"]) -> None:
    """Write `rows` to `folder`."""
    file = folder / NAMES[form]
    if form == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.write_text(text, encoding="utf-8")
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file, compression="zstd")


def read_generations(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a folder of generations. Raises HeirloomError when there are none."""
    if (file := folder / NAMES["jsonl"]).is_file():
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    elif (file := folder / NAMES["parquet"]).is_file():
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(file).to_pylist()
    else:
        raise HeirloomError(f"{folder / NAMES['jsonl']}: there is no such file; make it with inference.py")
    if not rows:
        raise HeirloomError(f"{file}: holds no answers to score")
    return rows
