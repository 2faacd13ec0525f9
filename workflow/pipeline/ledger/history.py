"""Earlier results, found by identity: returning to an earlier config restores its result.

`.dvc/history.jsonl` is in git, one line an execution, and travels with it; lines of two branches are united by
git's own `union` merge. A line has the hashes of the products, and how they were made: times, machine, versions. The
data itself is in DVC's cache and remote. What launch.py recorded on this machine is a second source: executions that
`dvc repro` made since the last Snakemake run. Only executions count. DVC's run cache is not asked: `dvc commit` writes
there too, for whatever lies in the working tree.

Another kind of line says of two states of the code that they give one result (pipeline.code.sameness): a result of
either is then found for both.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from heirloom.errors import HeirloomError
from heirloom.report.execution_records import is_execution
from pipeline.code import Carried, Same, equal_entries, same_of
from pipeline.ledger.entries import Entry
from pipeline.ledger.entry_form import are_outs, parsed
from pipeline.ledger.identity import identity_of
from pipeline.paths import HISTORY, RECORDS
from pipeline.records import measured


class History:
    """The executions that are known; of several with one identity the last counts."""

    def __init__(self, path: Path = HISTORY) -> None:
        self._path = path
        self._rows: dict[str, dict] | None = None
        self._same: list[Same] = []
        self._unwritten: list[dict] = []
        """Lines that this process knows, and the next `add_same` writes."""

    @property
    def same(self) -> list[Same]:
        """What is known to make no difference, in the order in which it was noted."""
        return self._same if self.rows is not None else []

    @property
    def rows(self) -> dict[str, dict]:
        """Identity → {stage, outs, record}; read when first asked for. A line cut short by a crash is passed over."""
        if self._rows is None:
            self._rows = {}
            try:
                lines = self._path.read_bytes().splitlines() if self._path.exists() else []
            except OSError as error:
                raise HeirloomError(f"{self._path} cannot be read ({error.strerror}): mend or remove it") from error
            for line in lines:
                row = parsed(line)
                if (known := row_of(row)) is not None:
                    self._rows[known["identity"]] = known
                elif (same := same_of(row)) is not None and same not in self._same:
                    self._same.append(same)
        return self._rows

    def find(self, stage: str, expected: Entry) -> Iterator[Entry]:
        """Yield the known results of executing a stage as `expected`, the likeliest first."""
        here = executed_here(stage)
        found: list[list[dict]] = []
        for identity, _ in self._identities(stage, expected):
            known = [here["outs"]] if here is not None and here["identity"] == identity else []
            known += [self.rows[identity]["outs"]] if identity in self.rows else []
            for outs in known:
                if outs not in found:
                    found.append(outs)
                    yield expected | {"outs": outs}

    def _identities(self, stage: str, entry: Entry) -> Iterator[tuple[str, tuple[Same, ...]]]:
        """Yield the identity of an entry, and those that are known to give the same, with what says so."""
        for equal, way in equal_entries(stage, entry, self.same):
            yield identity_of(equal), way

    def is_same(self, stage: str, recorded: Entry, expected: Entry) -> bool:
        """Tell whether a recorded entry and the one that executing now would record are known to give the same."""
        identity = identity_of(recorded)
        return any(identity == other for other, _ in self._identities(stage, expected))

    def executed(self, stage: str, entry: Entry) -> bool:
        """Tell whether an execution of what an entry describes is known, so that it is more than `dvc commit` says."""
        here = executed_here(stage)
        known = {here["identity"], *self.rows} if here is not None else self.rows
        return any(identity in known for identity, _ in self._identities(stage, entry))

    def accepted_by(self, stage: str, entry: Entry) -> list[Same]:
        """Return what says that this result, executed with other code, is one of the code that its entry names."""
        found = [way for identity, way in self._identities(stage, entry) if identity in self.rows]
        return list(found[0]) if found else []

    def add_if_executed(self, entries: dict[str, Entry]) -> None:
        """Append those of the recorded results that were executed here and are not known yet."""
        for stage, entry in entries.items():
            row = self.rows.get(identity_of(entry))
            if row is None or row["outs"] != entry["outs"]:
                here = executed_here(stage)
                if here is not None and here["outs"] == entry["outs"]:
                    self.add_executed_here(stage)

    def add_executed_here(self, stage: str) -> None:
        """Append the last execution of a stage on this machine, if nobody has yet."""
        here = executed_here(stage)
        if here is not None and self.rows.get(here["identity"], {}).get("outs") != here["outs"]:
            self._append([{"stage": stage, **here, "record": execution_record(stage, here["identity"])}])

    def made_with(self, stage: str, entry: Entry) -> dict:
        """Return what is recorded of the execution that made this very result: commit, time, ranks, machine, versions.

        Empty when neither the history nor this machine's own record tells.
        """
        for identity, _ in self._identities(stage, entry):
            row = self.rows.get(identity)
            record = execution_record(stage, identity) if row is None else row["record"]
            if record and (row is None or row["outs"] == entry["outs"]):
                return record
        return {}

    def add_same(self, new: Iterable[Same]) -> None:
        """Append what is known from now on to make no difference."""
        self.learn_same(new)
        self._write(self._unwritten)
        self._unwritten = []

    def learn_same(self, new: Iterable[Same]) -> None:
        """Let this process know it; it is written with the next `add_same`."""
        fresh = [same for same in new if same not in self.same]
        self._same += fresh
        self._unwritten += [same.as_row() for same in fresh]

    def learn_carried(self, carried: Carried, entries: dict[str, Entry]) -> None:
        """Let this process know entries of an earlier version, `entries`, in the form of today.

        What was executed under another name was executed; it is written with the next `add_same`.
        """
        self.learn_same(carried.known)
        for name, former in carried.moved.items():
            if self.executed(former, entries[former]):
                entry, record = carried.entries[name], self.made_with(former, entries[former])
                row = {"stage": name, "identity": identity_of(entry), "outs": entry["outs"], "record": record}
                self.rows[row["identity"]] = row
                self._unwritten.append(row)

    def add(self, executions: dict[str, Entry], records: dict[str, dict] | None = None) -> None:
        """Append what is not known yet (stage → entry), with what launch.py recorded about how it was made.

        `records` says it of some stages in place of launch.py.
        """
        new = []
        for stage, entry in executions.items():
            identity = identity_of(entry)
            if self.rows.get(identity, {}).get("outs") == entry["outs"]:
                continue
            record = records[stage] if records and stage in records else execution_record(stage, identity)
            new.append({"stage": stage, "identity": identity, "outs": entry["outs"], "record": record})
        self._append(new)

    def _append(self, new: list[dict]) -> None:
        self.rows.update((row["identity"], row) for row in new)
        self._write(new)

    def _write(self, new: list[dict]) -> None:
        if new:
            try:
                with self._path.open("ab+") as file:
                    whole = file.seek(0, os.SEEK_END) == 0 or ends_with_newline(file)
                    lines = "".join(json.dumps(row) + "\n" for row in new)
                    file.write((lines if whole else f"\n{lines}").encode())
            except OSError as error:
                raise HeirloomError(
                    f"{self._path} cannot be written ({error.strerror}): give the permission or the space; results "
                    "that it misses are noted by the next `snakemake`"
                ) from error


def ends_with_newline(file: BinaryIO) -> bool:
    """Tell whether the last line is whole: a process may have been killed while it wrote."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def row_of(row: Any) -> dict | None:
    """Return what a line of the history says of an execution; None for one that is cut short, or of another form."""
    if not isinstance(row, dict) or not are_outs(row.get("outs")):
        return None
    if not all(isinstance(row.get(key), str) for key in ("identity", "stage")):
        return None
    record = row.get("record")
    return {**row, "record": record if is_execution(record) else {}}


def executed_here(stage: str) -> dict | None:
    """Return {identity, outs} of the last execution of a stage that launch.py saw to its end here; None without one."""
    record = read_record(stage)
    if record.get("exit_code") != 0 or not isinstance(record.get("identity"), str) or not are_outs(record.get("outs")):
        return None
    if not record["identity"] or not record["outs"]:
        return None
    return {"identity": record["identity"], "outs": record["outs"]}


def read_record(stage: str) -> dict:
    """Return launch.py's record of the last execution of a stage; empty without one that can be read."""
    try:
        record = parsed((RECORDS / f"{stage}.json").read_bytes())
    except OSError:
        return {}
    return record if isinstance(record, dict) else {}


def execution_record(stage: str, identity: str) -> dict:
    """Return what launch.py recorded about this very execution: times, machine, versions; empty when it did not."""
    record = read_record(stage)
    if record.get("identity") != identity or not is_execution(record):
        return {}
    hidden = ("stage", "identity", "command", "exit_code", "outs", "measured")
    found = measured(stage, record)
    told = {key: value for key, value in record.items() if key not in hidden}
    return told | ({"measured": found} if found else {})
