"""What a checkpoint answered to each question of the harness: a file of rows a task, TASK.jsonl.

A row has, under the harness's own names: doc_id, filter, context, continuations (or how a text is generated), resps
(log-probability in nats and whether it is the likeliest text, or a generated text), filtered_resps, target, doc (the
row of the dataset), metrics (names) and the value of each. The context stands once, which the harness repeats for each
continuation.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError

SHOWN = 3
"""So many questions of a task are on a report's page."""
KEPT = ("doc_id", "filter", "target", "resps", "filtered_resps", "doc", "metrics")
Values = dict[str, dict[str, float]]
"""Score, with its filter as in the metrics file → question → value."""


def write_samples(samples: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> None:
    """Write the rows of each task, as the harness gives them, to `folder`, which is there."""
    for task, rows in samples.items():
        with (folder / f"{task}.jsonl").open("w", encoding="utf-8") as file:
            for row in sorted(rows, key=lambda row: (row["doc_id"], row["filter"])):
                file.write(json.dumps(kept(row), ensure_ascii=False, default=as_plain) + "\n")


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written of a row."""
    arguments = row["arguments"]
    asked = {"context": arguments[0][0], "continuations": [each[1] for each in arguments if len(each) > 1]}
    return {name: row[name] for name in KEPT} | asked | {name: row[name] for name in row["metrics"]}


def as_plain(value: Any) -> Any:
    """Return a value that JSON has for one that it lacks: a number of numpy, else its text."""
    return value.item() if hasattr(value, "item") else str(value)


def values_of(folder: Path, task: str) -> Values:
    """Return the numbers that each question of a task got; none without its file. Raises HeirloomError."""
    file = folder / f"{task}.jsonl"
    found: Values = {}
    for row in read_rows(file) if file.is_file() else ():
        for name in row["metrics"]:
            if isinstance(row.get(name), int | float):
                score = name if row["filter"] == "none" else f"{name},{row['filter']}"
                found.setdefault(score, {})[str(row["doc_id"])] = float(row[name])
    return found


def first_samples(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return task → its first questions: "context", "answer", "target" and "scores". Raises HeirloomError."""
    return {
        file.stem: [
            {
                "context": row["context"],
                "answer": answer_in(row),
                "target": str(row["target"]),
                "scores": {name: row[name] for name in row["metrics"] if isinstance(row.get(name), int | float)},
            }
            for row in islice(read_rows(file), SHOWN)
        ]
        for file in sorted(folder.glob("*.jsonl"))
    }


def answer_in(row: Mapping[str, Any]) -> str:
    """Return what the model said: of several continuations the likeliest one, else its text after the filter."""
    said = row["filtered_resps"]
    if len(row["continuations"]) > 1 and len(said) == len(row["continuations"]):
        return str(max(zip(said, row["continuations"], strict=True), key=lambda pair: pair[0][0])[1])
    return str(said[0])


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of samples. Raises HeirloomError for one that is none."""
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                whole = {*KEPT, "context", "continuations"} <= row.keys()
            except (ValueError, AttributeError):
                whole = False
            if not whole:
                raise HeirloomError(
                    f"{file}:{number}: is no row of samples: make it again with the stage that writes it"
                )
            yield row
