"""generations/RUN/: the file of generated answers, generations.jsonl or generations.parquet, one row an answer."""

import json
from collections.abc import Iterator, Sequence
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
    """Return the rows of a folder of generations. Raises HeirloomError when there are none, or for a damaged file."""
    if (file := folder / NAMES["jsonl"]).is_file():
        rows = list(rows_of_jsonl(file))
    elif (file := folder / NAMES["parquet"]).is_file():
        import pyarrow.parquet

        try:
            rows = pyarrow.parquet.read_table(file).to_pylist()
        except (OSError, ValueError) as error:
            raise HeirloomError(f"{file}: cannot be read ({error}); generate the answers again") from None
    else:
        raise HeirloomError(f"{folder / NAMES['jsonl']}: there is no such file; make it with inference.py")
    if not rows:
        raise HeirloomError(f"{file}: holds no answers to score")
    return rows


def rows_of_jsonl(file: Path) -> Iterator[dict[str, Any]]:
    """Yield a row a line. Raises HeirloomError for a line that is no JSON object."""
    # not splitlines: answers may hold characters that it takes for ends of lines, such as U+2028
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if line:
            try:
                row = json.loads(line.decode())
            except (ValueError, RecursionError) as error:
                problem = f"is no JSON ({error})"
            else:
                problem = None if isinstance(row, dict) else "is no JSON object, {…}"
            if problem:
                raise HeirloomError(f"{file}, line {number}: {problem}; generate the answers again")
            yield row
