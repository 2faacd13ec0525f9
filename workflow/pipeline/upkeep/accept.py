"""`make accept`: record a harmless code change without executing the stage again."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from heirloom.errors import HeirloomError
from heirloom.launcher.commit import current_commit
from pipeline.code import Same
from pipeline.graph import dvcfile
from pipeline.ledger import (
    Action,
    Entry,
    Fingerprints,
    Ledger,
    code_differences,
    config_sections,
    dvc_lock,
    expected_entry,
    guards_in_step,
    open_ledger,
    recorded_hashes,
    recorded_outs,
    write_entries,
)

HOLDING = (Action.CURRENT, Action.RESTORE)
"""What is to be done with a stage whose entry holds."""


@dataclass(frozen=True)
class Candidate:
    """A stage of which nothing but its code is another."""

    before: Entry
    after: Entry
    """What executing it now would record, with the products as they are recorded."""
    changed: list[str]
    """What changed of its code."""

    @property
    def inputs(self) -> dict[str, tuple[str | None, str | None]]:
        """Path → hash before and after, of all that changed."""
        then, now = ({dep["path"]: dep["md5"] for dep in entry["deps"]} for entry in (self.before, self.after))
        return {path: (then.get(path), now.get(path)) for path in {**then, **now} if then.get(path) != now.get(path)}


def accept(names: Sequence[str], reason: str | None = None) -> None:
    """Write the entries of stages anew: the code as it is now, everything else as it was recorded. No data is needed.

    `names` are stages or patterns. All or none of the stages that are named: raises HeirloomError, and changes nothing,
    for one that does not exist or was never run, that is stale for another reason than its code, whose result was
    edited, or that stands on one that must run. What a pattern alone names is left out then, and told.
    """
    ledger = open_ledger()
    named, matching = chosen(ledger, names)
    candidates, refused = acceptable(ledger, matching)
    if wrong := [text for name, text in refused.items() if name in named]:
        raise HeirloomError("\n".join(wrong))
    for name in matching:
        if name in candidates:
            print(f"{name} accepted in spite of: {'; '.join(candidates[name].changed)}")
        elif name in refused:
            print(f"not accepted: {refused[name]}")
        elif name in named:
            print(f"{name} is up to date")
    record(ledger, candidates, unproven(ledger, candidates, reason))


def chosen(ledger: Ledger, names: Iterable[str]) -> tuple[set[str], list[str]]:
    """Return the stages that are named, and all that are named or match a pattern, in run order."""
    patterns = [name for name in names if any(sign in name for sign in "*?[")]
    named = {ledger.graph.stage(name).name for name in names if name not in patterns}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ledger.names):
            raise HeirloomError(f"no stage matches {pattern}; `make plan` lists those that are not up to date")
    matching = [name for name in ledger.names if name in named or any(fnmatchcase(name, each) for each in patterns)]
    return named, matching


def acceptable(ledger: Ledger, names: Iterable[str]) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Return those of the stages of which nothing but the code changed, and a sentence for each that is refused.

    `names` are in run order: what stands on a stage that is acceptable may be so, too.
    """
    found: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    recorded, sections = recorded_outs(ledger.entries), config_sections(ledger.graph.members)
    with Fingerprints() as fingerprints:
        hash_of = recorded_hashes(ledger.graph, recorded, fingerprints.of)
        for name in names:
            if ledger.verdicts[name].action in HOLDING:
                continue
            problem = obstacle(ledger, name, found, fingerprints)
            if problem is None:
                stage, entry = ledger.graph.stages[name], ledger.entries[name]
                code, other = code_differences(stage, entry, hash_of, sections)
                if other:
                    problem = f"{'; '.join(other)}; only a change of code can be harmless: run `snakemake`"
                elif code:
                    after = expected_entry(stage, hash_of, sections, recorded) | {"outs": entry["outs"]}
                    found[name] = Candidate(entry, after, code)
            if problem is not None:
                refused[name] = f"{name} cannot be accepted: {problem}"
    return found, refused


def obstacle(ledger: Ledger, name: str, found: dict[str, Candidate], fingerprints: Fingerprints) -> str | None:
    """Return why a stage cannot be accepted whatever changed of its code, None when nothing stands in the way."""
    entry = ledger.entries.get(name)
    if entry is None:
        return "it was never run, so there is no result to accept: run `snakemake`"
    waiting = [
        above
        for above in ledger.graph.upstream[name]
        if ledger.verdicts[above].action not in HOLDING
        and above not in found
        and not follows_accepted(ledger, above, found)
    ]
    if waiting:
        return (
            f"it reads what {', '.join(waiting)} will make anew: run `snakemake`, or accept that one with it where "
            "only its code changed"
        )
    for out in entry["outs"]:
        if fingerprints.of(out["path"]) not in (None, out["md5"]):
            return f"{out['path']} was edited since it was made; `dvc checkout {out['path']}` brings back what was made"
    return None


def follows_accepted(ledger: Ledger, name: str, found: dict[str, Candidate]) -> bool:
    """Tell whether a stage waits for nothing but stages that are acceptable."""
    return ledger.verdicts[name].action is Action.FOLLOW and all(
        ledger.verdicts[above].action in HOLDING or above in found or follows_accepted(ledger, above, found)
        for above in ledger.graph.upstream[name]
    )


def unproven(ledger: Ledger, candidates: dict[str, Candidate], reason: str | None) -> list[Same]:
    """Return what the history says of stages that a person accepts."""
    proof = {"accepted": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": current_commit()}
    if reason:
        proof["reason"] = reason
    groups: dict[tuple, list[str]] = {}
    for name, candidate in candidates.items():
        groups.setdefault(tuple(sorted(candidate.inputs.items())), []).append(name)
    return [Same(dict(inputs), stages=frozenset(names), proof=proof) for inputs, names in groups.items()]


def record(ledger: Ledger, candidates: dict[str, Candidate], known: Iterable[Same]) -> None:
    """Write down that stages are what they are with the code as it is now: in the history, then in dvc.lock."""
    dvcfile.write(ledger.graph)
    ledger.history.add_same(known)
    after = {name: candidate.after for name, candidate in candidates.items()}
    with dvc_lock():
        write_entries(ledger.adopted | after | guards_in_step(ledger.graph, ledger.entries))
