"""Earlier results, found by identity: returning to an earlier config restores its result.

`.dvc/history.jsonl` is in git, one line an execution, and travels with it; lines of two branches are united by
git's own `union` merge. The data itself is in DVC's cache and remote. DVC's run cache on this machine is a second
source: executions that `dvc repro` made since the last Snakemake run.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from pipeline.identity import identity_of
from pipeline.lockfile import Entry
from pipeline.paths import HISTORY


class History:
    """The executions that are known, newest last."""

    def __init__(self, path: Path = HISTORY, run_cache: Path | None = None) -> None:
        self._path = path
        self._run_cache = run_cache
        self._entries: dict[str, Entry] | None = None

    @property
    def entries(self) -> dict[str, Entry]:
        """Identity → the newest entry with it; read when first asked for."""
        if self._entries is None:
            self._entries = {row["identity"]: row["entry"] for row in self.rows()}
        return self._entries

    def rows(self) -> Iterator[dict]:
        """Yield the lines of the history; a line cut short by a crash is passed over."""
        if not self._path.exists():
            return
        for line in self._path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if "identity" in row and "entry" in row:
                yield row

    def find(self, expected: Entry) -> Iterator[Entry]:
        """Yield the known results of executing `expected`, the likeliest first."""
        identity = identity_of(expected)
        if identity in self.entries:
            yield self.entries[identity]
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

    def add(self, executions: dict[str, Entry], records: dict[str, dict] | None = None) -> None:
        """Append what is not known yet: stage → entry; with what is recorded about how it was made."""
        lines = []
        for stage, entry in executions.items():
            identity = identity_of(entry)
            if self.entries.get(identity) != entry:
                row = {"stage": stage, "identity": identity, "entry": entry}
                if records and records.get(stage):
                    row["record"] = records[stage]
                lines.append(json.dumps(row) + "\n")
                self.entries[identity] = entry
        if lines:
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a") as file:
                file.write("".join(lines))
