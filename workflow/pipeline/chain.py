"""From one generated line back to all that it was made from, by what dvc.lock, the history and git recorded.

The hashes are followed, not the names: when a checkpoint was trained anew since the line was generated, the chain
leads to the earlier one, by the entry that a commit has of it. Data may be missing; each artifact says where it is.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.raw_files import SOURCE_FILE, RawFile, read_rows
from pipeline.contents import Contents
from pipeline.history import History, execution_record
from pipeline.identity import identity_of
from pipeline.lockfile import Entry, committed_lock, read_lock
from pipeline.origin import commits_with_hash
from pipeline.paths import DVC_LOCK

GENERATIONS = "generations.jsonl"


@dataclass(frozen=True)
class Artifact:
    """One content at one path. Without `stage` it is a file of the user's, or nothing recorded how it was made."""

    path: str
    md5: str
    """DVC's hash; ends in `.dir` for a folder."""
    presence: str
    """`Contents.presence`."""
    commits: list[str]
    """The commits that brought it into the ledger, oldest first; none while dvc.lock is not committed."""
    stage: str | None = None
    command: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """Config file → the sections that decided it, as recorded."""
    execution: dict[str, Any] = field(default_factory=dict)
    """Commit, time, ranks, machine and versions; empty when not recorded here."""
    inputs: dict[str, list["Artifact"]] = field(default_factory=dict)
    """Flag of the command (`base`, `dataset`, `raw`, …) → what the stage read by it."""

    @property
    def get(self) -> str:
        """The command that brings it here."""
        return f"dvc pull {shlex.quote(self.path)}" if self.stage else f"git checkout -- {shlex.quote(self.path)}"

    def described(self) -> dict[str, Any]:
        """Return it as JSON has it; inputs by path."""
        inputs = {flag: [each.path for each in found] for flag, found in self.inputs.items()}
        return {**vars(self), "inputs": inputs}


@dataclass
class Chain:
    """A generated line (None when its text is not on this machine), and what leads to it."""

    generations: Artifact
    row_id: str | None
    line: int | None = None
    """Line of generations.jsonl, from 1."""
    generated: dict[str, Any] | None = None
    checkpoint: dict[str, Any] = field(default_factory=dict)
    """{path, weights, md5, recorded_now, still_there}: `weights` is the line's own SHA-256 of the weights."""
    processed: dict[str, Any] = field(default_factory=dict)
    """{dataset, split, position, row}: position in the split from 0."""
    raw: dict[str, Any] = field(default_factory=dict)
    """{path, file, row, md5, sha256, source, hub_commit, content}."""
    missing: list[str] = field(default_factory=list)
    """A sentence for each fact that cannot be told here, with the remedy."""

    @property
    def artifacts(self) -> list[Artifact]:
        """Return every artifact of the chain once, what was made last first."""
        found: dict[tuple[str, str], Artifact] = {}
        pending = [self.generations]
        while pending:
            artifact = pending.pop(0)
            if (artifact.path, artifact.md5) not in found:
                found[artifact.path, artifact.md5] = artifact
                pending += [each for several in artifact.inputs.values() for each in several]
        return list(found.values())

    @property
    def trainings(self) -> list[Artifact]:
        """Return the checkpoints behind the line, the one that generated it first, the root model last."""
        found = self.generations.inputs.get("checkpoint", [])[:1]
        while found and found[-1].inputs.get("base"):
            found.append(found[-1].inputs["base"][0])
        return found

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        facts = {name: value for name, value in vars(self).items() if name != "generations"}
        lineage = [artifact.path for artifact in self.trainings]
        return {**facts, "lineage": lineage, "artifacts": [each.described() for each in self.artifacts]}


def trace_row(generations: Path, wanted: str, sample: int = 0) -> Chain:
    """Return the chain behind one line of `generations`, a folder that a stage made.

    `wanted`: a row_id, or the number of a line from 1. `sample`: which of several answers to the row.
    Raises HeirloomError when the ledger knows no such folder, or the folder is here and has no such line.
    """
    if not DVC_LOCK.exists():
        raise HeirloomError(f"there is no {DVC_LOCK} here: run this in the repository's folder, after `snakemake`")
    with Contents() as contents:
        made = Recorded(contents).generations(generations)
        chain = Chain(made, None if wanted.isdecimal() else wanted)
        find_line(chain, contents, wanted, sample)
        check_weights(chain)
        find_rows(chain, contents)
    return chain


class Recorded:
    """What is recorded of artifacts, looked up by path and hash."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.entries = read_lock()
        self.history = History()
        self.known: dict[tuple[str, str], Artifact] = {}

    def generations(self, folder: Path) -> Artifact:
        """Return the artifact of a folder of generations: as it lies here, else as dvc.lock has it."""
        path = folder.as_posix()
        recorded = {
            out["path"]: out["md5"]
            for name, entry in self.entries.items()
            for out in entry.get("outs", [])
            if name.startswith("generate-")
        }
        if path not in recorded:
            close = get_close_matches(path, recorded, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"it records {', '.join(recorded) or 'none yet'}"
            raise HeirloomError(f"{path}: dvc.lock records no such generations; {hint}")
        now = self.contents.now(path)
        if now is not None and self.maker(path, now, commits_with_hash(now)):
            return self.artifact(path, now)
        return self.artifact(path, recorded[path])

    def artifact(self, path: str, md5: str) -> Artifact:
        """Return a content at a path with everything that led to it."""
        if (path, md5) not in self.known:
            commits = commits_with_hash(md5)
            found = self.maker(path, md5, commits)
            facts: dict[str, Any] = {}
            if found:
                stage, entry = found
                facts = {
                    "stage": stage,
                    "command": entry["cmd"],
                    "config": entry.get("params", {}),
                    "execution": self.execution(stage, entry),
                    "inputs": self.inputs(entry),
                }
            self.known[path, md5] = Artifact(path, md5, self.contents.presence(path, md5), commits, **facts)
        return self.known[path, md5]

    def maker(self, path: str, md5: str, commits: list[str]) -> tuple[str, Entry] | None:
        """Return the stage that made a content and its entry: of dvc.lock as it is, else as one of `commits` has it."""
        for entries in (self.entries, *(committed_lock(commit.split()[0]) for commit in reversed(commits))):
            for stage, entry in entries.items():
                if any(out["path"] == path and out["md5"] == md5 for out in entry.get("outs", [])):
                    return stage, entry
        return None

    def execution(self, stage: str, entry: Entry) -> dict[str, Any]:
        """Return how this very result was made; empty when neither the history nor this machine's record tells."""
        identity = identity_of(entry)
        row = self.history.rows.get(identity, {})
        recorded = row.get("record", {}) if row.get("outs") == entry["outs"] else {}
        return recorded or execution_record(stage, identity)

    def inputs(self, entry: Entry) -> dict[str, list[Artifact]]:
        """Return what a stage read, by the flag of its command."""
        hashes = {dep["path"]: dep["md5"] for dep in entry.get("deps", []) if "md5" in dep}
        found: dict[str, list[Artifact]] = {}
        flag = ""
        for word in shlex.split(entry["cmd"]):
            if word.startswith("--"):
                flag = word.removeprefix("--")
                continue
            path = word.partition("=")[2] if flag == "datasets" else word  # --datasets NAME=FOLDER …
            if flag and path in hashes:
                found.setdefault(flag, []).append(self.artifact(path, hashes[path]))
        return found


def find_line(chain: Chain, contents: Contents, wanted: str, sample: int) -> None:
    """Note the generated line. Raises HeirloomError when generations.jsonl is here and has none."""
    made = chain.generations
    with contents.opened(made.path, made.md5, GENERATIONS) as file:
        if file is None:
            chain.missing.append(f"the generated line itself: {made.path} is {made.presence}: {made.get}")
            return
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if wanted.isdecimal():
        found = [int(wanted)] if 1 <= int(wanted) <= len(rows) else []
    else:
        found = [
            number for number, row in enumerate(rows, 1) if row["row_id"] == wanted and row.get("sample", 0) == sample
        ]
    if not found:
        ids = list(dict.fromkeys(row["row_id"] for row in rows))
        close = get_close_matches(wanted, ids, n=1) or ids[:1]
        example = f", for example {close[0]}" if close else ""
        which = f" with sample {sample}" if sample else ""
        raise HeirloomError(
            f"{made.path}/{GENERATIONS} has no row {wanted}{which}: give a row_id{example}, or a line from 1 to {len(rows)}"
        )
    chain.line = found[0]
    chain.generated = rows[found[0] - 1]
    chain.row_id = chain.generated["row_id"]


def check_weights(chain: Chain) -> None:
    """Note which checkpoint generated the line, and whether the folder there still holds it."""
    if not chain.trainings:
        return
    checkpoint = chain.trainings[0]
    weights = (chain.generated or {}).get("checkpoint")
    there: bool | None = None
    if checkpoint.presence == "not here" or checkpoint.presence == "in the cache":
        chain.missing.append(f"{checkpoint.path} is {checkpoint.presence}: {checkpoint.get}")
    elif weights is None:
        there = checkpoint.presence == "here"
    else:
        there = weights == weights_in(checkpoint.path, chain)
    chain.checkpoint = {"path": checkpoint.path, "weights": weights, "md5": checkpoint.md5, "still_there": there}


def weights_in(folder: str, chain: Chain) -> str | None:
    """Return the SHA-256 of a model's weights; None, noted, where the libraries to read models are not installed."""
    try:
        from heirloom.provenance import weights_hash  # here: it needs `datasets`, which the light environment lacks
    except ModuleNotFoundError as error:
        chain.missing.append(f"the weights of {folder} cannot be hashed without {error.name}: make setup")
        return None
    return weights_hash(Path(folder))


def find_rows(chain: Chain, contents: Contents) -> None:
    """Note the processed row behind the line and the raw row behind that."""
    prompts = chain.generations.inputs.get("dataset", [])
    if not prompts:
        return
    dataset = prompts[0]
    chain.processed = {"dataset": dataset.path, "split": "test", "position": None, "row": None}
    if chain.row_id is None:
        chain.missing.append("the processed and the raw row: a line's number does not tell them, a row_id does")
        return
    find_processed(chain, contents, dataset)
    part, row_id = dataset, chain.row_id
    while "datasets" in part.inputs:  # a mixture writes NAME/ before the row_id of a part
        named = {Path(each.path).name: each for each in part.inputs["datasets"]}
        owners = [name for name in named if row_id.startswith(f"{name}/")]
        if not owners:
            chain.missing.append(f"the raw row: {row_id} names none of {', '.join(named)}, the parts of {part.path}")
            return
        name = max(owners, key=len)
        part, row_id = named[name], row_id.removeprefix(f"{name}/")
    if "raw" in part.inputs:
        find_raw(chain, contents, part.inputs["raw"][0], row_id)


def find_processed(chain: Chain, contents: Contents, dataset: Artifact) -> None:
    """Note position and text of the processed row."""
    names = contents.names(dataset.path, dataset.md5)
    if names is None:
        chain.missing.append(f"the processed row: {dataset.path} is {dataset.presence}: {dataset.get}")
        return
    position = 0
    for name in sorted(name for name in names if name.startswith("test/") and name.endswith(".arrow")):
        with contents.opened(dataset.path, dataset.md5, name) as file:
            if file is None:
                chain.missing.append(f"the processed row: {dataset.path}/{name} is not here: {dataset.get}")
                return
            for _, row in rows_in(chain, file, name):
                if row.get("row_id") == chain.row_id:
                    texts = {column: value for column, value in row.items() if isinstance(value, str)}
                    chain.processed |= {"position": position, "row": texts}
                    return
                position += 1


def rows_in(chain: Chain, file: Path, name: str) -> Iterator[tuple[int, Any]]:
    """Yield (number, row) of a data file; none, noted, where the library that reads its format is not installed."""
    try:
        yield from read_rows(RawFile(file, name, ""))
    except ModuleNotFoundError as error:
        chain.missing.append(f"{name} cannot be read without {error.name}: make setup")


def find_raw(chain: Chain, contents: Contents, raw: Artifact, row_id: str) -> None:
    """Note the raw row: `row_id` is FILE:ROW, FILE relative to the raw folder."""
    name, _, number = row_id.rpartition(":")
    folder = raw.md5.endswith(".dir")
    inner = name if folder else None
    chain.raw = {"path": raw.path, "file": f"{raw.path}/{name}" if folder else raw.path, "row": int(number)}
    names = contents.names(raw.path, raw.md5) if folder else None
    chain.raw["md5"] = (names or {}).get(name) if folder else raw.md5
    chain.raw["source"] = next((sections["source"] for sections in raw.config.values() if "source" in sections), None)
    with contents.opened(raw.path, raw.md5, SOURCE_FILE) as file:
        note = json.loads(file.read_text(encoding="utf-8")) if folder and file else {}
    noted = next((each for each in note.get("files", []) if each["path"] == name), {})
    chain.raw |= {"sha256": noted.get("sha256"), "hub_commit": note.get("commit"), "content": None}
    with contents.opened(raw.path, raw.md5, inner) as file:
        if file is None:
            chain.missing.append(f"the raw row: {chain.raw['file']} is {raw.presence}: {raw.get}")
            return
        found = (row for at, row in rows_in(chain, file, name) if at == int(number))
        chain.raw["content"] = next(found, None)
