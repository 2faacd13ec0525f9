"""What is known to make no difference: two states of code that give one result, proven by executions or accepted.

A line of `.dvc/history.jsonl` says it once for many stages, so that a new version of the project costs the history a
line and not one a result. It names inputs as they were and as they are, and for which stages that holds: by name, or
by combination, which is what decides the way that a stage takes through the code. A result that is recorded for one of
the two is one of the other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.code.combinations import combination
from pipeline.folder_objects import is_hash

LARGEST = 64
"""So many states of one stage's code are looked for."""


@dataclass(frozen=True)
class Same:
    """One such line."""

    inputs: dict[str, tuple[str | None, str | None]]
    """Path → its hash then and now; None where it was no input, or is none."""
    stages: frozenset[str] = frozenset()
    combinations: frozenset[str] = frozenset()
    proof: dict[str, Any] = field(default_factory=dict)
    """What was executed, or who accepted it why."""

    def as_row(self) -> dict[str, Any]:
        """Return it as a line of the history."""
        scope = {"stages": sorted(self.stages), "combinations": sorted(self.combinations)}
        return {"same": {path: list(pair) for path, pair in self.inputs.items()}, **scope, "proof": self.proof}

    def holds_for(self, stage: str, entry: dict) -> bool:
        """Tell whether a stage with this entry is one of those that it was said of."""
        return stage in self.stages or (bool(self.combinations) and combination(stage, entry) in self.combinations)

    def other(self, stage: str, entry: dict) -> dict | None:
        """Return the entry with the other state of the code, None when the entry has neither or is not meant."""
        deps = {dep["path"]: dep for dep in entry.get("deps", [])}
        for here, there in ((1, 0), (0, 1)):
            if all(deps.get(path, {}).get("md5") == pair[here] for path, pair in self.inputs.items()):
                if not self.holds_for(stage, entry):
                    return None
                for path, pair in self.inputs.items():
                    deps.pop(path, None)
                    if pair[there] is not None:
                        deps[path] = {"path": path, "hash": "md5", "md5": pair[there]}
                return {**entry, "deps": [deps[path] for path in sorted(deps)]}
        return None


def same_of(row: Any) -> Same | None:
    """Return what a line of the history says, None for one that is no such line."""
    if not isinstance(row, dict) or not isinstance(row.get("same"), dict) or not row["same"]:
        return None
    pairs = row["same"].values()
    if not all(isinstance(pair, list) and len(pair) == 2 and pair != [None, None] for pair in pairs):
        return None
    if not all(value is None or is_hash(value) for pair in pairs for value in pair):
        return None
    scope = [row.get("stages", []), row.get("combinations", [])]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in scope):
        return None
    proof = row.get("proof")
    inputs = {path: tuple(pair) for path, pair in row["same"].items()}
    return Same(inputs, *map(frozenset, scope), proof=proof if isinstance(proof, dict) else {})


def equal_entries(stage: str, entry: dict, known: Iterable[Same]) -> Iterator[tuple[dict, tuple[Same, ...]]]:
    """Yield an entry, and all with another state of the code that gives the same result, with what says so."""
    known = list(known)
    seen = [deps_of(entry)]
    pending: list[tuple[dict, tuple[Same, ...]]] = [(entry, ())]
    while pending and len(seen) < LARGEST:
        found, way = pending.pop(0)
        yield found, way
        for same in known:
            other = same.other(stage, found)
            if other is not None and deps_of(other) not in seen:
                seen.append(deps_of(other))
                pending.append((other, (*way, same)))


def deps_of(entry: dict) -> dict[str, str | None]:
    """Return path → hash of what an entry read."""
    return {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
