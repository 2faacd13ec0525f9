"""One generated line, and the rows, runs and files behind it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from heirloom.content_hashes import file_hash
from heirloom.data.raw.data_folders import SOURCE_FILE
from heirloom.data.raw.raw_files import RawFile, read_rows
from heirloom.errors import HeirloomError
from heirloom.inference.generation_files import NAMES, read_generations
from heirloom.models.weights import weights_hash
from pipeline.ledger import read_lock
from pipeline.paths import DVC_LOCK
from pipeline.provenance.ancestry import Ancestry, Artifact
from pipeline.provenance.contents import Contents
from pipeline.provenance.origin import committed_file


@dataclass
class TracedRow:
    """A row that the line comes from. What is not known here is None."""

    file: str
    """The file, or the folder of a processed dataset's split."""
    number: int | None = None
    """Raw and prompt files: as `raw_files.read_rows` counts, from 1. Processed: index in the split, from 0."""
    content: dict[str, Any] | None = None


@dataclass
class RawRow(TracedRow):
    """A row of a raw dataset, or of a file of prompts."""

    sha256: str | None = None
    """Of the file."""
    source: dict[str, Any] | None = None
    """As configured: `hub` and `revision`, `s3`, `generator` or `path`."""
    revision: str | None = None
    """Commit of the hub repository; for a file of the user's, of this repository."""


@dataclass
class Trace:
    """A generated line, and what leads to it."""

    generations: Artifact
    line: int
    """From 1."""
    row: dict[str, Any]
    """The line itself."""
    weights_match: bool | None = None
    """Whether the checkpoint's folder holds the weights that the line names; None when it cannot be told."""
    processed: TracedRow | None = None
    raw: RawRow | None = None
    missing: list[str] = field(default_factory=list)
    """A sentence for each fact that cannot be told here, with the remedy."""

    @property
    def checkpoint(self) -> Artifact | None:
        """The checkpoint that generated the line."""
        return next(iter(self.generations.inputs.get("checkpoint", [])), None)

    @property
    def lineage(self) -> list[Artifact]:
        """The checkpoints behind the line: the one that generated it first, the root model last."""
        found = [self.checkpoint] if self.checkpoint else []
        while found and found[-1].inputs.get("base"):
            found += found[-1].inputs["base"]
        return found

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "generations": self.generations.path,
            "line": self.line,
            "row": self.row,
            "weights_match": self.weights_match,
            "lineage": [artifact.path for artifact in self.lineage],
            "processed": self.processed and asdict(self.processed),
            "raw": self.raw and asdict(self.raw),
            "artifacts": [artifact.as_json() for artifact in self.generations.ancestors()],
            "missing": self.missing,
        }


def trace_row(generations: Path, wanted: str, sample: int | None = None) -> Trace:
    """Return what leads to one line of `generations`, a folder that a stage made.

    `wanted`: a row_id, or the number of a line from 1. `sample`: which of several answers to the row.
    Raises HeirloomError when dvc.lock has no such folder, its data is not here, or it has no such line.
    """
    md5 = recorded_hash(generations.as_posix())
    with Contents() as contents:
        made = Ancestry(contents).artifact(generations.as_posix(), md5)
        rows = read_lines(made, contents)
        line = find_line(rows, wanted, sample, made.path)
        trace = Trace(made, line, rows[line - 1])
        if made.place != "here" and generations.exists():
            trace.missing.append(f"{made.path} was edited since; this is the line as dvc.lock records it")
        compare_weights(trace)
        find_rows(trace, contents)
    return trace


def recorded_hash(path: str) -> str:
    """Return the hash that dvc.lock has of a folder of generations. Raises HeirloomError when it has none."""
    if not DVC_LOCK.exists():
        raise HeirloomError(f"there is no {DVC_LOCK} here: call this in the repository's folder, after `snakemake`")
    recorded = {
        out["path"]: out["md5"]
        for stage, entry in read_lock().items()
        if stage.startswith("generate-")
        for out in entry.get("outs", [])
    }
    if path not in recorded:
        close = get_close_matches(path, recorded, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(recorded) or 'none yet'}"
        raise HeirloomError(f"{path}: {DVC_LOCK} records no such generations; {hint}")
    return recorded[path]


def read_lines(made: Artifact, contents: Contents) -> list[dict[str, Any]]:
    """Return the rows of recorded generations. Raises HeirloomError when they are not here or cannot be read."""
    for name in NAMES.values():
        with contents.opened(made.path, made.md5, name) as file:
            if file is not None:
                try:
                    return read_generations(file.parent)
                except ModuleNotFoundError as error:
                    raise HeirloomError(f"{made.path}/{name} cannot be read without {error.name}: make setup") from None
    if made.place == "not here":
        raise HeirloomError(f"{made.path} as {DVC_LOCK} records it is not on this machine: {made.remedy}")
    raise HeirloomError(f"{made.path} holds no {' and no '.join(NAMES.values())}: it was made by another program")


def find_line(rows: list[dict[str, Any]], wanted: str, sample: int | None, folder: str) -> int:
    """Return the number, from 1, of the line that is meant; without `sample` a row's first answer.

    Raises HeirloomError when there is none.
    """
    for number, row in enumerate(rows, 1):
        if row["row_id"] == wanted and row.get("sample", 0) == (sample or 0):
            return number
    ids = [row["row_id"] for row in rows]
    if wanted in ids:
        raise HeirloomError(f"{folder} has {ids.count(wanted)} answers to {wanted}: give --sample from 0")
    if wanted.isdecimal() and 1 <= int(wanted) <= len(rows):
        if sample is not None:
            raise HeirloomError(f"--sample {sample}: line {wanted} is one answer by itself: leave --sample out")
        return int(wanted)
    example = (get_close_matches(wanted, ids, n=1) or ids)[0]
    raise HeirloomError(
        f"{folder} has no row {wanted}: give a row_id, for example {example}, or a line from 1 to {len(rows)}"
    )


@contextmanager
def package_needed(trace: Trace, what: str) -> Iterator[None]:
    """Note that `what` cannot be told where a library that the light environment lacks is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        trace.missing.append(f"{what} cannot be read without {error.name}: make setup")


def compare_weights(trace: Trace) -> None:
    """Hold the weights that the line names against those in the checkpoint's folder."""
    checkpoint, named = trace.checkpoint, trace.row.get("checkpoint")
    if checkpoint is None or named is None:
        return
    if checkpoint.place != "here":
        trace.missing.append(f"whether {checkpoint.path} holds the weights that answered: {away(checkpoint)}")
        return
    trace.weights_match = weights_hash(Path(checkpoint.path)) == named


def away(artifact: Artifact) -> str:
    """Say where an artifact is that is not in the working tree, and what brings it."""
    return f"{artifact.path} as recorded is {artifact.place}: {artifact.remedy}"


def find_rows(trace: Trace, contents: Contents) -> None:
    """Note the rows behind the line: of the file of prompts, or of the processed and the raw dataset."""
    inputs, row_id = trace.generations.inputs, trace.row["row_id"]
    for prompts in inputs.get("prompts", []):
        find_prompt(trace, contents, prompts, row_id)
    for dataset in inputs.get("dataset", []):
        find_processed(trace, contents, dataset, row_id)
        while parts := {Path(part.path).name: part for part in dataset.inputs.get("datasets", [])}:
            name = max((name for name in parts if row_id.startswith(f"{name}/")), key=len)  # as data/mixing.py writes
            dataset, row_id = parts[name], row_id.removeprefix(f"{name}/")
        if any("processed" in found.get("source", {}) for found in dataset.config.values()):
            trace.missing.append(
                f"the raw row: {dataset.path} was processed elsewhere, so the row id is all that is known"
            )
            continue
        for raw in dataset.inputs.get("raw", []):
            find_raw(trace, contents, raw, row_id)


def find_processed(trace: Trace, contents: Contents, dataset: Artifact, row_id: str) -> None:
    """Note the row of the processed dataset's test split."""
    trace.processed = TracedRow(f"{dataset.path}/test")
    names = sorted(
        name
        for name in contents.files(dataset.path, dataset.md5)
        if name.startswith("test/") and name.endswith(".arrow")
    )
    index = 0
    for name in names:
        with contents.opened(dataset.path, dataset.md5, name) as file, package_needed(trace, f"{dataset.path}/{name}"):
            for _, row in read_rows(RawFile(file, name, "test")) if file else ():
                if row.get("row_id") == row_id:
                    trace.processed.number = index
                    trace.processed.content = {key: value for key, value in row.items() if isinstance(value, str)}
                    return
                index += 1
    if dataset.place == "not here":
        trace.missing.append(f"the processed row: {away(dataset)}")


def find_raw(trace: Trace, contents: Contents, raw: Artifact, row_id: str) -> None:
    """Note the raw row; `row_id` is FILE:ROW, FILE relative to a raw folder."""
    name, _, number = row_id.rpartition(":")
    folder = raw.md5.endswith(".dir")
    trace.raw = RawRow(f"{raw.path}/{name}" if folder else raw.path, int(number))
    trace.raw.source = next((found["source"] for found in raw.config.values()), {"path": raw.path})
    if folder:
        with contents.opened(raw.path, raw.md5, SOURCE_FILE) as file:
            note = json.loads(file.read_text(encoding="utf-8")) if file else {}
        trace.raw.sha256 = next((each["sha256"] for each in note.get("files", []) if each["path"] == name), None)
        trace.raw.revision = note.get("commit")
    read_raw(trace, contents, raw, name if folder else None)


def find_prompt(trace: Trace, contents: Contents, prompts: Artifact, row_id: str) -> None:
    """Note the line of a file of prompts; `row_id` is its `id`, else FILE:LINE."""
    trace.raw = RawRow(prompts.path, source={"path": prompts.path})
    with contents.opened(prompts.path, prompts.md5) as file:
        for number, row in read_rows(RawFile(file, file.name, "test")) if file else ():
            if row_id == row.get("id", f"{file.name}:{number}"):
                trace.raw.number = number
    read_raw(trace, contents, prompts, None)


def read_raw(trace: Trace, contents: Contents, raw: Artifact, inner: str | None) -> None:
    """Note content, hash and, for a file that is in this repository, revision of the raw row."""
    if raw.stage is None and inner is None and (committed := committed_file(raw.path, raw.md5)):
        trace.raw.revision = committed.commit
    with contents.opened(raw.path, raw.md5, inner) as file, package_needed(trace, trace.raw.file):
        if file is None:
            trace.missing.append(f"the raw row: {away(raw)}")
            return
        trace.raw.sha256 = trace.raw.sha256 or file_hash(file)
        found = (row for number, row in read_rows(RawFile(file, file.name, "")) if number == trace.raw.number)
        trace.raw.content = next(found, None)
