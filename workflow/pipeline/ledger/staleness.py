"""Which stages would run, and why, down to the field.

A stage is current when its entry in dvc.lock records the command, the code, the config sections and the inputs
that it has now. What DVC compares is compared here, in the same way, without importing DVC.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.code import changed_modules
from pipeline.graph import Graph, Stage, flags_of, program_of
from pipeline.ledger.entries import Entry, HashOf, expected_entry, recorded_hashes, recorded_outs


class Action(StrEnum):
    """What the next run does with a stage."""

    CURRENT = "current"
    RUN = "run"
    RESTORE = "restore"
    """Its entry holds, its data is missing or was edited: brought back from the cache or the remote."""
    FOLLOW = "follow"
    """Nothing of its own changed, but a stage that it reads from runs."""


@dataclass
class Verdict:
    """What is to be done with a stage, and the reasons in the user's words."""

    action: Action
    reasons: list[str] = field(default_factory=list)


def differences(stage: Stage, entry: Entry | None, hash_of: HashOf, sections: Callable[[str], dict]) -> list[str]:
    """Return every way in which a stage differs from what its entry records; an empty list when the entry holds.

    `sections` gives the parsed content of a config file.
    """
    if not entry:
        return ["never run"]
    return [
        *command_differences(stage.cmd, entry["cmd"]),
        *parameter_differences(stage, entry.get("params", {}), sections),
        *dependency_differences(stage, {dep["path"]: dep for dep in entry.get("deps", [])}, hash_of),
        *product_differences(stage, entry),
    ]


def code_differences(
    stage: Stage, entry: Entry, hash_of: HashOf, sections: Callable[[str], dict]
) -> tuple[list[str], list[str]]:
    """Return the same ways in two lists: changes of code, which may be harmless, and all others."""
    everything = differences(stage, entry, hash_of, sections)
    code = [
        reason
        for path, reason in dependency_changes(stage, {dep["path"]: dep for dep in entry.get("deps", [])}, hash_of)
        if is_code(path)
    ]
    return code, [reason for reason in everything if reason not in code]


def is_code(path: str) -> bool:
    """Tell whether a file that a stage reads is a program's: of the project, or of the user's own functions."""
    return program_of(path) is not None or (path.endswith(".py") and not path.startswith(("data/", "config/")))


def command_differences(now: str, then: str) -> list[str]:
    """Compare two command lines flag by flag."""
    now_flags, then_flags = flags_of(now), flags_of(then)
    changed = [
        f"command: {flag} {then_flags.get(flag, 'absent')} → {now_flags.get(flag, 'absent')}"
        for flag in dict.fromkeys([*now_flags, *then_flags])
        if now_flags.get(flag) != then_flags.get(flag)
    ]
    return changed or (["command changed"] if now != then else [])


def parameter_differences(stage: Stage, recorded: dict[str, dict], sections: Callable[[str], dict]) -> list[str]:
    """Compare the config sections that belong to a stage with those that its entry records."""
    found = []
    for file in dict.fromkeys([*stage.params, *recorded]):
        names = stage.params.get(file, ())
        # a file that the entry alone names may be any: what comes from elsewhere has no file read
        now = {name: value for name, value in sections(file).items() if name in names} if names else {}
        then = recorded.get(file, {})
        if now != then:
            found += field_differences(then, now)
    return found


def field_differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Return `training.learning_rate 1e-05 → 2e-05` for every field that differs."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            text
            for key in dict.fromkeys([*then, *now])
            for text in field_differences(then.get(key, ABSENT), now.get(key, ABSENT), f"{path}.{key}" if path else key)
        ]
    return [] if then == now else [f"{path} {then} → {now}"]


class _Absent:
    def __str__(self) -> str:
        return "absent"


ABSENT = _Absent()


def dependency_differences(stage: Stage, recorded: dict[str, dict], hash_of: HashOf) -> list[str]:
    """Compare the content of everything a stage reads with what its entry records."""
    return [reason for _, reason in dependency_changes(stage, recorded, hash_of)]


def dependency_changes(stage: Stage, recorded: dict[str, dict], hash_of: HashOf) -> Iterator[tuple[str, str]]:
    """Yield (path, reason) for everything a stage reads that is not what its entry records."""
    for path in stage.deps:
        now, program = hash_of(path), program_of(path)
        if program and path in recorded and now != recorded[path].get("md5"):
            yield from ((path, reason) for reason in changed_modules(program, recorded[path].get("md5")))
        elif path not in recorded:
            yield path, f"{path} is a new input"
        elif now is None:
            yield path, f"{path} is missing"
        elif now != recorded[path].get("md5"):
            yield path, f"{path} changed"
    yield from ((path, f"{path} is no longer an input") for path in recorded if path not in stage.deps)


def product_differences(stage: Stage, entry: Entry) -> list[str]:
    """Compare the paths that a stage makes with those that its entry records."""
    recorded = tuple(out["path"] for out in entry.get("outs", []))
    return [] if recorded == stage.products else [f"makes {', '.join(stage.products)} instead of {', '.join(recorded)}"]


def judge(
    graph: Graph,
    names: Iterable[str],
    entries: dict[str, Entry],
    file_hash: HashOf,
    sections: Callable[[str], dict],
    missing_data: Callable[[str, Entry], list[str]],
    candidates: Callable[[Stage, Entry], Iterable[Entry]],
    forced: Iterable[str] = (),
) -> tuple[dict[str, Verdict], dict[str, Entry]]:
    """Give every stage its verdict; also return the entries found elsewhere that hold for the config as it is now.

    `file_hash` answers for plain files; for an artifact of another stage the entry of that stage answers.
    `missing_data(stage, entry)` names what of an entry's data is not here (empty where data may be remote).
    `candidates(stage, expected)` offers earlier entries: returned markers, the history.
    """
    wanted = set(names)
    verdicts: dict[str, Verdict] = {}
    adopted: dict[str, Entry] = {}
    recorded = recorded_outs(entries)
    hash_of = recorded_hashes(graph, recorded, file_hash)
    for name, stage in graph.stages.items():
        if name not in wanted:
            continue
        entry = entries.get(name)
        waiting = [above for above in graph.upstream[name] if verdicts[above].action in (Action.RUN, Action.FOLLOW)]
        reasons = differences(stage, entry, hash_of, sections)
        if name in forced:
            verdicts[name] = Verdict(Action.RUN, ["forced"])
            continue
        if reasons and not waiting:
            expected = expected_entry(stage, hash_of, sections, recorded)
            for candidate in candidates(stage, expected) if expected else ():
                if not differences(stage, candidate, hash_of, sections):
                    entry = adopted[name] = candidate
                    recorded |= recorded_outs({name: candidate})
                    break
        if reasons and name not in adopted:
            own = [reason for reason in reasons if not entry or not made_upstream(reason, waiting, graph)]
            verdicts[name] = Verdict(Action.RUN, own) if own else follow(waiting)
        elif waiting:
            verdicts[name] = follow(waiting)
        elif missing := missing_data(name, entry):
            verdicts[name] = Verdict(Action.RESTORE, missing)
        else:
            verdicts[name] = Verdict(Action.CURRENT)
    return verdicts, adopted


def follow(waiting: list[str]) -> Verdict:
    """Return the verdict on a stage whose inputs are about to be made anew."""
    return Verdict(Action.FOLLOW, [f"after {', '.join(waiting)}"])


def made_upstream(reason: str, waiting: list[str], graph: Graph) -> bool:
    """Tell whether a reason only says that an artifact, which a waiting stage makes anew, is not there."""
    return any(reason.startswith(f"{path} ") for above in waiting for path in graph.stages[above].products)
