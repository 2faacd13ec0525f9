"""Which processing function rows are for, found by looking at them: the function itself is tried on the first rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from heirloom.data.dataset_creation import told
from heirloom.data.raw.data_folders import find_raw_files
from heirloom.data.raw.raw_files import read_rows
from heirloom.data.raw.text_files import UnreadableRow
from heirloom.data.rows.processing import find_processing_function
from heirloom.errors import HeirloomError

LOOKED_AT = 200
"""Rows of each file that are tried."""
MESSAGES = ("messages", "message", "conversations", "conversation", "dialog", "dialogue", "chat", "turns")
QUESTIONS = ("instruction", "prompt", "question", "query", "input")
ANSWERS = ("output", "response", "completion", "answer")
TEXTS = ("text", "content", "document", "body", "story", "article")
JUDGED = ({"prompt", "completion", "label"}, {"messages", "label"})
"""Columns of single answers that were judged (KTO)."""


@dataclass(frozen=True)
class Shape:
    """What a dataset's `processing:` says of its rows, beside lengths and splits."""

    processing_function: str
    columns: dict[str, str] = field(default_factory=dict)
    dataset_text_field: str | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """The keys as a dataset's file has them; what is the default is left out."""
        found: dict[str, Any] = {"processing_function": self.processing_function}
        if self.columns:
            found["columns"] = self.columns
        if self.dataset_text_field not in (None, "text"):
            found["dataset_text_field"] = self.dataset_text_field
        return found

    def made_of(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the function makes of a row, None where it leaves it out. Raises ValueError for a wrong one."""
        function, _ = find_processing_function(self.processing_function)
        named = {self.columns.get(column, column): value for column, value in row.items()}
        if self.dataset_text_field is not None:
            return function(named, column=self.dataset_text_field)
        return function(named)

    def accepts(self, row: dict[str, Any]) -> str | None:
        """Return why the function cannot use a row, in one line; None when it can."""
        try:
            self.made_of(row)
        except ValueError as error:
            return told(error)
        return None


def first_rows(raw: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the first rows of a raw dataset, and how many were looked at in each split.

    Raises HeirloomError where there is no data, or none that can be read.
    """
    rows: list[dict[str, Any]] = []
    splits: dict[str, int] = {}
    for file in find_raw_files(raw):
        good = [row for _, row in islice(read_rows(file), LOOKED_AT) if not isinstance(row, UnreadableRow)]
        rows += good
        splits[file.split] = splits.get(file.split, 0) + len(good)
    if not rows:
        raise HeirloomError(f"{raw}: holds no row that can be read: look into its files")
    return rows, splits


def shape_of(rows: list[dict[str, Any]]) -> tuple[Shape, list[str]]:
    """Return the shape that takes most of the rows, the likeliest first, and what could not be decided.

    Raises HeirloomError, which names the columns, when none takes a row.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    counted = []
    for order, shape in enumerate(candidates(columns, rows)):
        refused = [reason for row in rows if (reason := shape.accepts(row)) is not None]
        if len(refused) < len(rows):
            counted.append((len(refused), order, shape, refused))
    if not counted:
        raise HeirloomError(
            f"columns {', '.join(columns)}: no built-in processing function takes these rows: write your own as "
            "module:function (docs/data.md), or rename columns with processing.columns"
        )
    number, _, shape, refused = min(counted, key=lambda found: found[:2])
    open_questions = [f"{number} of {len(rows)} rows cannot be used, the first because {refused[0]}"] if number else []
    left_out = sum(shape.accepts(row) is None and shape.made_of(row) is None for row in rows)
    if left_out:
        open_questions.append(
            f"{left_out} of {len(rows)} rows are answers that were judged bad and are left out: to learn from them "
            "too, write labelled_processing_function and use trainer: kto"
        )
    others = [other for count, _, other, _ in counted if count == number and other != shape]
    if others:
        named = ", ".join(f"{other.processing_function} with {other.columns or 'no renaming'}" for other in others[:3])
        open_questions.append(f"the rows fit {named} as well")
    return shape, open_questions


def from_and_value(rows: list[dict[str, Any]], column: str) -> bool:
    """Tell whether the turns in a column are ShareGPT's, with `from`, and not messages with `role`."""
    found = next((row[column] for row in rows if row.get(column)), None)
    turn = found[0] if isinstance(found, list) and found else found
    return '"from"' in turn if isinstance(turn, str) else isinstance(turn, dict) and "from" in turn


def candidates(columns: list[str], rows: list[dict[str, Any]]) -> Iterator[Shape]:
    """Yield the shapes that rows with these columns may have, the most specific first."""
    if "chosen" in columns and "rejected" in columns:
        question = next((name for name in QUESTIONS if name in columns and name not in ("prompt", "instruction")), None)
        renamed = {question: "prompt"} if question and not {"prompt", "instruction"} & {*columns} else {}
        if from_and_value(rows, "chosen"):
            yield Shape("sharegpt_rlhf_processing_function")
        else:
            yield Shape("dummy_rlhf_processing_function", renamed)
        return
    if any(judged <= set(columns) for judged in JUDGED):
        yield Shape("prompt_completion_processing_function")
    for name in [name for name in MESSAGES if name in columns]:
        if from_and_value(rows, name):
            yield Shape("sharegpt_processing_function", {} if name == "conversations" else {name: "conversations"})
        else:
            yield Shape("dummy_processing_function", {} if name == "messages" else {name: "messages"})
    if "source" in columns and "target" in columns:
        yield Shape("seq2seq_processing_function")
    if {"prompt", "completion"} <= set(columns):
        if "label" not in columns:
            yield Shape("prompt_completion_processing_function")
        return
    question = next((name for name in QUESTIONS if name in columns), None)
    answer = next((name for name in ANSWERS if name in columns), None)
    if question and answer:
        renamed = {question: "instruction"} if question != "instruction" else {}
        renamed |= {answer: "output"} if answer != "output" else {}
        yield Shape("instruction_processing_function", renamed)
    for name in [name for name in TEXTS if name in columns] or (columns if len(columns) == 1 else []):
        yield Shape("plain_text_processing_function", dataset_text_field=name)
