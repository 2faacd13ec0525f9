"""From raw files to a processed dataset: the one implementation behind every way to call create_dataset.py.

Rows flow through in batches: while the Rust tokenizer encodes one batch on all cores, Python renders the next. Memory
does not grow with the number of rows.
"""

import gc
import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import TemplateError

from heirloom.artifacts import new_artifact
from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.chats.chat_templates import ChatTemplate, read_chat_template
from heirloom.data.column_names import ColumnNames
from heirloom.data.data_statistics import BAD_ROW, SplitStatistics
from heirloom.data.dataset_storage import SplitWriter
from heirloom.data.preview import Preview
from heirloom.data.raw.data_folders import find_raw_files, recorded_hub
from heirloom.data.raw.raw_files import RawFile, read_rows
from heirloom.data.raw.row_counts import count_rows
from heirloom.data.raw.text_files import UnreadableRow, bad_bytes
from heirloom.data.row_progress import RowProgress
from heirloom.data.rows.chat_rows import ChatRows
from heirloom.data.rows.labelled_rows import LabelledRows
from heirloom.data.rows.long_texts import LONG
from heirloom.data.rows.preference_rows import PreferenceRows
from heirloom.data.rows.processing import find_processing_function
from heirloom.data.rows.rows import FinishedRow, Prepared
from heirloom.data.rows.seq2seq_rows import Seq2SeqRows
from heirloom.data.rows.text_rows import TextRows
from heirloom.data.rows.tokenization import Encoded, Tokenizer
from heirloom.data.rows.truncation import Dropped
from heirloom.data.seen_prompts import PromptKeys, seen_rows, tell_seen
from heirloom.data.test_splits import TestSplit
from heirloom.errors import HeirloomError, plain
from heirloom.json_files import write_json

BATCH_ROWS = 1000
BATCH_CHARACTERS = 1_000_000
BAD_ROWS_SHOWN = 10
FILES_SHOWN = 3
RAW_COLUMN = "raw"  # the raw row as JSON, where remove_columns is false
UNUSABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, TemplateError, RecursionError, ArithmeticError)
"""What the processing function, a chat template or our own reading of a row raise for one that is odd."""


class RawRow(NamedTuple):
    """A raw row, where it stands, and what the processing function made of it."""

    row_id: str
    split: str
    raw: dict[str, Any]
    record: dict[str, Any]


class Problem(NamedTuple):
    """Why a raw row is not among the processed ones."""

    row_id: str
    split: str
    reason: str  # the name under which it is counted
    message: str


class Batch(NamedTuple):
    """Rows whose texts are being encoded."""

    rows: list[tuple[RawRow, Prepared]]
    encodings: Future[list[list[Encoded]]]


def create_dataset(
    raw: Path,
    tokenizer_folder: Path,
    section: ProcessingSection,
    output: Path,
    statistics: Path | None = None,
    first_rows: int | None = None,
) -> dict[str, Any]:
    """Process the raw dataset `raw` into the folder `output` and return the statistics.

    `statistics`: file to write them to. `first_rows`: process only so many rows of each raw file, to try things out.
    Raises HeirloomError for unusable input, naming rows by file and number; nothing is at `output` then.
    """
    creation = Creation(raw, Tokenizer(tokenizer_folder), section, first_rows, output.name)
    with new_artifact(output) as partial:
        metrics = creation.write(partial)
    if statistics is not None:
        with new_artifact(statistics) as partial:
            write_json(partial, metrics)
    return metrics


class Creation:
    """One processing of one raw dataset."""

    def __init__(self, raw: Path, tokenizer: Tokenizer, section: ProcessingSection, first_rows: int | None, title: str):
        self.tokenizer, self.section, self.first_rows = tokenizer, section, first_rows
        self.function, self.kind = find_processing_function(section.processing_function, section.kind)
        if "dataset_text_field" in section.model_fields_set:
            self.function = partial(self.function, column=section.dataset_text_field)
        self.maker = self.row_maker()
        self.column_names = ColumnNames(section.columns)
        self.hub = recorded_hub(raw)
        self.files, self.drawn = chosen_files(find_raw_files(raw), section)
        self.title = title
        self.splits = ["train", "test"] if self.drawn or any(split == "test" for split, _ in self.files) else ["train"]
        self.statistics = {split: SplitStatistics() for split in self.splits}
        self.preview = Preview(title, tokenizer, self.kind)
        self.bad_rows: list[Problem] = []
        self.prompts = {split: PromptKeys() for split in self.splits}

    def row_maker(self) -> TextRows | ChatRows | PreferenceRows | LabelledRows | Seq2SeqRows:
        """Return what makes rows of this kind."""
        if self.section.padding and self.tokenizer.pad_token_id is None:
            raise HeirloomError(f"padding: {self.tokenizer.folder} has no pad_token; set one, or padding: false")
        if self.kind == "text":
            return TextRows(self.section, self.tokenizer)
        if self.kind == "seq2seq":
            return Seq2SeqRows(self.section, self.tokenizer)
        if self.section.chat_template:
            source = read_chat_template(self.section.chat_template)
        elif self.kind == "chat" or self.tokenizer.transformers_tokenizer.chat_template:
            source = self.tokenizer.chat_template()
        else:
            source = None  # pairs and judged answers may be plain texts
        tokens, owner = self.tokenizer.special_tokens, self.section.chat_template or self.tokenizer.folder
        template = ChatTemplate(source, tokens, owner) if source else None
        tool_template = None
        if not self.section.chat_template and self.tokenizer.has_tool_template:
            tool_template = ChatTemplate(self.tokenizer.chat_template(tools=[{}]), tokens, owner)
        maker = {"chat": ChatRows, "labelled": LabelledRows, "preference": PreferenceRows}[self.kind]
        return maker(self.section, self.tokenizer, template, tool_template)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the dataset to `folder` and return its statistics; raises HeirloomError for too many bad rows."""
        held_out = self.draw_test_rows() if self.drawn else None
        with ExitStack() as stack:
            stack.enter_context(few_collections())
            writers = {
                split: stack.enter_context(SplitWriter(folder / split, self.columns(split))) for split in self.splits
            }
            for raw_row, finished in self.finished_rows(held_out):
                self.keep(writers[raw_row.split], raw_row, finished)
                del raw_row, finished  # they may be a whole book, here and below, and the next one is read now
            self.column_names.check_all_seen(sum(counts.rows_in for counts in self.statistics.values()))
            self.check_bad_rows()
        self.check_not_empty()
        self.compare_prompts()
        for warning in self.maker.warnings() if isinstance(self.maker, ChatRows) else []:
            print(f"warning: {plain(warning)}", file=sys.stderr)
        hashes = {split: writer.sha256 for split, writer in writers.items()}
        left_over = {split: self.tokens_left_over(split) for split in self.splits}
        metrics = {split: self.statistics[split].as_metrics(left_over[split]) for split in self.splits}
        write_json(folder / "dataset.json", self.facts(hashes))
        for split, keys in self.prompts.items():
            keys.write(folder, split)
        (folder / "preview.html").write_text(self.preview.page(metrics), encoding="utf-8")
        return metrics

    def keep(self, writer: SplitWriter, raw_row: RawRow, finished: FinishedRow) -> None:
        """Write a finished row, count it and show it among the first."""
        columns = finished.columns
        if "row_id" in writer.features:
            columns = {**columns, "row_id": raw_row.row_id}
        if not self.section.remove_columns:
            columns = {**columns, RAW_COLUMN: raw_json(raw_row)}
        writer.add(columns)
        self.statistics[raw_row.split].keep(finished)
        self.preview.keep(raw_row.split, raw_row.row_id, columns)

    def columns(self, split: str) -> dict[str, str]:
        """Return the columns of a split and their types."""
        raw = {} if self.section.remove_columns else {RAW_COLUMN: "text"}
        return {**self.maker.columns(split), **raw}

    # the flow of rows

    @cached_property
    def row_count(self) -> int | None:
        """The number of raw rows, about, where the files tell it."""
        return count_rows((file for _, file in self.files), self.first_rows)

    def raw_rows(self, purpose: str) -> Iterator[tuple[str, str, dict[str, Any] | UnreadableRow]]:
        """Yield (split, row id, raw row) of all chosen files; lines of progress begin with the word `purpose`."""
        progress = RowProgress(purpose, self.row_count)
        for split, file in self.files:
            name = file.name
            for number, row in islice(read_rows(file), self.first_rows):
                progress.advance()
                yield split, f"{name}:{number}", row
                del row

    def records(self, held_out: np.ndarray | None = None, purpose: str = "rows") -> Iterator[RawRow | Problem]:
        """Yield what the processing function makes of every raw row, in its split.

        `held_out` says which rows are in a drawn test split, in the order of the raw rows.
        """
        index = -1  # not enumerate(): it holds the last row
        for split, row_id, row in self.raw_rows(purpose):
            index += 1
            if held_out is not None and held_out[index]:
                split = "test"
            if isinstance(row, UnreadableRow):
                yield Problem(row_id, split, BAD_ROW, row.problem)
                continue
            row = self.column_names.rename(row, row_id)
            try:
                record = self.function(row)
                if record is None:
                    yield Problem(row_id, split, "left_out_by_function", "left out by the processing function")
                    continue
                missing = [column for column in self.maker.needs if column not in record]
                if missing:
                    raise ValueError(f"the processing function gave no {' and no '.join(missing)}")
            except UNUSABLE as error:
                yield Problem(row_id, split, BAD_ROW, told(error))
                continue
            yield RawRow(row_id, split, row, record)
            del row, record

    def draw_test_rows(self) -> np.ndarray:
        """Return for each raw row whether it is in the drawn test split."""
        split = TestSplit(self.section.seed)
        for row in self.records(purpose="prompts"):
            split.add(self.keys_of(row) if isinstance(row, RawRow) else None)
            del row
        return split.draw(self.section.test_rows, self.section.test_fraction)

    def keys_of(self, row: RawRow) -> list[int] | None:
        """Return the keys of a row's prompts; None for a row that will be left out, which is told then."""
        try:
            return self.maker.prompt_keys(self.maker.prepare(row.record, "train"))
        except HeirloomError:
            raise
        except (Dropped, *UNUSABLE):
            return None

    def finished_rows(self, held_out: np.ndarray | None) -> Iterator[tuple[RawRow, FinishedRow]]:
        """Yield the rows of the dataset in the order of the raw rows."""
        with ThreadPoolExecutor(1) as encoder:
            waiting: Batch | None = None
            for rows in self.prepared_batches(held_out):
                batch = Batch(rows, encoder.submit(self.encode, [prepared for _, prepared in rows]))
                if waiting:
                    yield from self.finish(waiting)
                waiting = batch
                del batch
                if any(len(text) > LONG for _, prepared in rows for text in prepared.texts):
                    yield from self.finish(waiting)  # before anything more is read
                    waiting = None
                    rows.clear()
            if waiting:
                yield from self.finish(waiting)

    def prepared_batches(self, held_out: np.ndarray | None) -> Iterator[list[tuple[RawRow, Prepared]]]:
        """Yield rows ready to be encoded, about a megabyte at a time."""
        batch: list[tuple[RawRow, Prepared]] = []
        characters = 0
        for row in self.records(held_out):
            self.statistics[row.split].rows_in += 1
            if isinstance(row, Problem):
                self.drop(row)
                continue
            try:
                prepared = self.maker.prepare(row.record, row.split)
                self.check_characters(row, prepared)
            except HeirloomError:
                raise
            except Dropped as reason:
                self.drop(Problem(row.row_id, row.split, str(reason), str(reason)))
                continue
            except UNUSABLE as error:
                self.drop(Problem(row.row_id, row.split, BAD_ROW, told(error)))
                continue
            batch.append((row, prepared))
            characters += sum(map(len, prepared.texts))
            del row, prepared
            if len(batch) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
        if batch:
            yield batch

    def check_characters(self, row: RawRow, prepared: Prepared) -> None:
        """Raise ValueError for a text that holds half of a character, as a function of the user's can make it."""
        kept = [] if self.section.remove_columns else [raw_json(row)]
        problem = next(filter(None, map(bad_bytes, (*prepared.texts, *kept))), None)
        if problem:
            raise ValueError(f"its text {problem}")

    def encode(self, prepared: list[Prepared]) -> list[list[Encoded]]:
        """Encode the texts of a batch; the result has one list of encodings a row."""
        in_pieces = self.kind in ("text", "chat")  # a pair or a source of such a length is no row to train on
        longest = LONG if in_pieces else sys.maxsize
        encode = self.tokenizer.encode_to_ids if in_pieces else self.tokenizer.encode
        encoded = {}
        for flag in {row.add_special_tokens for row in prepared}:
            texts = [text for row in prepared if row.add_special_tokens == flag for text in row.texts]
            encoded[flag] = iter(encode([text for text in texts if len(text) <= longest], flag))
        encodings = [
            [
                next(encoded[row.add_special_tokens])
                if len(text) <= longest
                else self.tokenizer.encode_pieces(text, row.add_special_tokens)
                for text in row.texts
            ]
            for row in prepared
        ]
        if isinstance(self.maker, ChatRows):
            self.maker.locate(prepared, encodings)
        return encodings

    def finish(self, batch: Batch) -> Iterator[tuple[RawRow, FinishedRow]]:
        """Yield the finished rows of a batch."""
        for (row, prepared), encodings in zip(batch.rows, batch.encodings.result(), strict=True):
            try:
                for finished in self.maker.finish(prepared, encodings, row.split):
                    yield row, finished
            except Dropped as reason:
                self.drop(Problem(row.row_id, row.split, str(reason), str(reason)))
            except (ValueError, RecursionError) as error:
                self.drop(Problem(row.row_id, row.split, BAD_ROW, told(error)))
            else:
                self.prompts[row.split].add(self.maker.prompt_keys(prepared))

    # checks and facts

    def drop(self, problem: Problem) -> None:
        """Count a row that is left out and remember the first bad ones."""
        self.statistics[problem.split].drop(problem.reason)
        self.preview.drop(problem.row_id, problem.message)
        if problem.reason == BAD_ROW and len(self.bad_rows) < BAD_ROWS_SHOWN:
            self.bad_rows.append(problem)

    def check_bad_rows(self) -> None:
        """Report the bad rows; raise HeirloomError when their share is larger than the section allows."""
        bad = sum(counts.dropped[BAD_ROW] for counts in self.statistics.values())
        if not bad:
            return
        rows = sum(counts.rows_in for counts in self.statistics.values())
        lines = [f"  {problem.row_id}: {problem.message}" for problem in self.bad_rows]
        more = [f"  … and {bad - len(lines)} more"] if bad > len(lines) else []
        report = "\n".join([f"{bad} of {rows} raw rows cannot be used:", *lines, *more])
        if bad > self.section.bad_rows * rows:
            raise HeirloomError(f"{report}\nmend the rows, or allow a share of them with processing.bad_rows")
        print(f"warning: {plain(report)}", file=sys.stderr)

    def check_not_empty(self) -> None:
        """Raise HeirloomError when a split has no row or nothing to train on."""
        for split, counts in self.statistics.items():
            if counts.rows_out and counts.trained:
                continue
            read = [str(file.path) for name, file in self.files if self.drawn or name == split]
            more = f" and {len(read) - FILES_SHOWN} more files" if len(read) > FILES_SHOWN else ""
            problem = f"{self.title}: the {split} split, from {', '.join(read[:FILES_SHOWN])}{more}, is empty"
            if self.drawn and not counts.rows_in and any(each.rows_in for each in self.statistics.values()):
                raise HeirloomError(
                    f"{problem}: the drawn test split takes all rows, since rows with the same prompt stay together; "
                    "hold out fewer rows"
                )
            too_short = self.tokens_left_over(split)
            if too_short:
                raise HeirloomError(
                    f"{problem}: its {too_short} tokens do not fill one packed row of {self.section.max_length}; give "
                    "more text or a smaller max_length"
                )
            why = ", ".join(f"{reason}: {count}" for reason, count in sorted(counts.dropped.items()))
            raise HeirloomError(
                f"{problem}: of {counts.rows_in} raw rows none is left with a token to train on"
                f"{f' ({why})' if why else ''}"
            )

    def compare_prompts(self) -> None:
        """Tell on stderr, and in the statistics, how many test rows have a prompt that is trained on as well."""
        if "test" in self.prompts:
            seen = seen_rows(self.prompts["test"].as_array(), self.prompts["train"].as_array())
            self.statistics["test"].seen = len(seen)
            tell_seen("the test split", len(seen), self.prompts["test"].rows, "its train split")

    def tokens_left_over(self, split: str) -> int:
        """Return the tokens at the end of a packed split that fill no row."""
        return self.maker.tokens_left_over(split) if isinstance(self.maker, TextRows) else 0

    def facts(self, hashes: dict[str, str]) -> dict[str, Any]:
        """Return what the readers of this dataset have to know; `hashes` are those of the splits' content."""
        section = self.section.model_dump(mode="json")
        return {
            "kind": self.kind,
            "max_length": self.section.max_length,
            "max_prompt_length": self.section.max_prompt_length,
            "max_target_length": self.section.longest_target if self.kind == "seq2seq" else None,
            "packed": self.section.packed,
            "padded": self.section.padding,
            "train_on": section["train_on"] if self.kind == "chat" else "all",
            "processing_function": self.section.processing_function,
            "hub": self.hub,
            "tokenizer": self.tokenizer.facts(),
            "chat_template": self.maker.template.source if getattr(self.maker, "template", None) else None,
            "splits": {
                split: {"rows": counts.rows_out, "columns": list(self.columns(split)), "sha256": hashes[split]}
                for split, counts in self.statistics.items()
            },
        }


@contextmanager
def few_collections() -> Iterator[None]:
    """Let Python look for circles of objects less often while the block runs: rows are trees, which need none to go.

    It would look after every 700 parts of rows, at what libraries have made too: 8 % of the CPU time of short chats.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def raw_json(row: RawRow) -> str:
    """Return the raw row as JSON."""
    return json.dumps(row.raw, ensure_ascii=False, default=str)


def told(error: Exception) -> str:
    """Return what is wrong with a row, in one line; of errors that Python raised, also which."""
    message = " ".join(str(error).split())
    return message if isinstance(error, ValueError | TemplateError) else f"{type(error).__name__}: {message}"


def chosen_files(files: list[RawFile], section: ProcessingSection) -> tuple[list[tuple[str, RawFile]], bool]:
    """Return [(train or test, file)] and whether the test split is drawn from the training rows.

    Raises HeirloomError when a split is missing. Files of splits that nobody asked for are named on stderr.
    """
    present = list(dict.fromkeys(file.split for file in files))
    drawn = section.test_fraction is not None or section.test_rows is not None
    test = None if drawn else section.test_split or ("test" if "test" in present else None)
    for key, split in (("train_split", section.train_split), ("test_split", test)):
        if split is not None and split not in present:
            raise HeirloomError(f"processing.{key}: the raw dataset has no split {split}; it has {', '.join(present)}")
    if test == section.train_split:
        raise HeirloomError(f"processing.test_split: {test} is the split that is trained on; choose another")
    unused = [split for split in present if split not in (section.train_split, test)]
    if unused:
        print(f"note: the raw dataset's split {plain(', '.join(unused))} is not used", file=sys.stderr)
    train_files = [("train", file) for file in files if file.split == section.train_split]
    return train_files + [("test", file) for file in files if file.split == test], drawn
