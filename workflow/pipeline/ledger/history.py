"""Earlier results, found by identity: returning to an earlier config restores its result.

`.dvc/history.jsonl` is in git, one line an execution, and travels with it; lines of two branches are united by
git's own `union` merge. A line has the hashes of the products, and how they were made: times, machine, versions. The
data itself is in DVC's cache and remote. DVC's run cache on this machine is a second source: executions that
`dvc repro` made since the last Snakemake run.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from pipeline.ledger.entries import Entry
from pipeline.ledger.identity import identity_of
from pipeline.paths import HISTORY, RECORDS


class History:
    """The executions that are known; of several with one identity the last counts."""

    def __init__(self, path: Path = HISTORY, run_cache: Path | None = None) -> None:
        self._path = path
        self._run_cache = run_cache
        self._rows: dict[str, dict] | None = None

    @property
    def rows(self) -> dict[str, dict]:
        """Identity → {stage, outs, record}; read when first asked for. A line cut short by a crash is passed over."""
        if self._rows is None:
            self._rows = {}
            lines = self._path.read_text().splitlines() if self._path.exists() else []
            for line in lines:
                try:
                    row = json.loads(line)
                    self._rows[row["identity"]] = row
                except (ValueError, KeyError):
                    continue
        return self._rows

    def find(self, expected: Entry) -> Iterator[Entry]:
        """Yield the known results of executing `expected`, the likeliest first."""
        identity = identity_of(expected)
        if identity in self.rows:
            yield expected | {"outs": self.rows[identity]["outs"]}
        if self._run_cache is not None:
            yield from self._in_run_cache(identity)

    def _in_run_cache(self, identity: str) -> Iterator[Entry]:
        folder = self._run_cache / identity[:2] / identity
        if not folder.is_dir():
            return
        for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True):
            try:
                yield YAML(typ="safe").load(file)
            except (OSError, YAMLError):
                continue

    def made_with(self, stage: str, entry: Entry) -> dict:
        """Return what is recorded of the execution that made this very result: commit, time, ranks, machine, versions.

        Empty when neither the history nor this machine's own record tells.
        """
        identity = identity_of(entry)
        row = self.rows.get(identity)
        if row is None:
            return execution_record(stage, identity)
        return row["record"] if row["outs"] == entry["outs"] else {}

    def add(self, executions: dict[str, Entry]) -> None:
        """Append what is not known yet (stage → entry), with what launch.py recorded about how it was made."""
        lines = []
        for stage, entry in executions.items():
            identity = identity_of(entry)
            if self.rows.get(identity, {}).get("outs") == entry["outs"]:
                continue
            row = {
                "stage": stage,
                "identity": identity,
                "outs": entry["outs"],
                "record": execution_record(stage, identity),
            }
            self.rows[identity] = row
            lines.append(json.dumps(row) + "\n")
        if lines:
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a") as file:
                file.write("".join(lines))


def execution_record(stage: str, identity: str) -> dict:
    """Return what launch.py recorded about this very execution: times, machine, versions; empty when it did not."""
    try:
        record = json.loads((RECORDS / f"{stage}.json").read_text())
    except (OSError, ValueError):
        return {}
    if record.get("identity") != identity:
        return {}
    return {key: value for key, value in record.items() if key not in ("stage", "identity", "command", "exit_code")}
