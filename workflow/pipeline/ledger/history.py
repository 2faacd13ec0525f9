"""Earlier results, found by identity: returning to an earlier config restores its result.

`.dvc/history.jsonl` is in git, one line an execution, and travels with it; lines of two branches are united by
git's own `union` merge. A line has the hashes of the products, and how they were made: times, machine, versions. The
data itself is in DVC's cache and remote. What launch.py recorded on this machine is a second source: executions that
`dvc repro` made since the last Snakemake run. Only executions count. DVC's run cache is not asked: `dvc commit` writes
there too, for whatever lies in the working tree.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from heirloom.errors import HeirloomError
from heirloom.report.execution_records import is_execution
from pipeline.ledger.entries import Entry
from pipeline.ledger.entry_form import are_outs, parsed
from pipeline.ledger.identity import identity_of
from pipeline.paths import HISTORY, RECORDS


class History:
    """The executions that are known; of several with one identity the last counts."""

    def __init__(self, path: Path = HISTORY) -> None:
        self._path = path
        self._rows: dict[str, dict] | None = None

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
                if (row := row_of(line)) is not None:
                    self._rows[row["identity"]] = row
        return self._rows

    def find(self, stage: str, expected: Entry) -> Iterator[Entry]:
        """Yield the known results of executing a stage as `expected`, the likeliest first."""
        identity = identity_of(expected)
        here = executed_here(stage)
        if here is not None and here["identity"] == identity:
            yield expected | {"outs": here["outs"]}
        if identity in self.rows and (here is None or self.rows[identity]["outs"] != here["outs"]):
            yield expected | {"outs": self.rows[identity]["outs"]}

    def executed(self, stage: str, entry: Entry) -> bool:
        """Tell whether an execution of what an entry describes is known, so that it is more than `dvc commit` says."""
        identity = identity_of(entry)
        here = executed_here(stage)
        return identity in self.rows or (here is not None and here["identity"] == identity)

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
        identity = identity_of(entry)
        row = self.rows.get(identity)
        if row is None:
            return execution_record(stage, identity)
        return row["record"] if row["outs"] == entry["outs"] else {}

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
        if new:
            self.rows.update((row["identity"], row) for row in new)
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


def row_of(line: bytes) -> dict | None:
    """Return what a line of the history says; None for one that is cut short, or that nobody of us wrote."""
    row = parsed(line)
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
    hidden = ("stage", "identity", "command", "exit_code", "outs")
    return {key: value for key, value in record.items() if key not in hidden}
