"""`make upgrade`: after a new version or an edit of code, keep every result that the new code would make as well.

Of the stages of which nothing but the project's code changed, one small one of each combination (pipeline.code) is
executed with both states of the code. Where the bytes are equal and every statement that changed was executed, all
stages of that combination are recorded with the new code: proven. The rest stays as it is, and is told.
"""

import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.launcher.commit import current_commit
from pipeline.code import Changes, Same, changes_between, combination, earlier_code, not_executed
from pipeline.git import git
from pipeline.graph import Graph, code, program_of
from pipeline.ledger import Ledger, open_ledger
from pipeline.upkeep.accept import Candidate, acceptable, record, unproven
from pipeline.upkeep.changelog import bytes_since
from pipeline.upkeep.own_trial import own_stages, try_own
from pipeline.upkeep.trial import Outcome, try_out

SHOWN = 5
FETCHING = "it fetches from outside, which is not done for a trial"


@dataclass
class Group:
    """Stages of one combination whose code changed in the same way."""

    program: str
    combination: str
    then: str
    """Hash of the listing of the code that made them."""
    now: str
    stages: list[str] = field(default_factory=list)
    commit: str | None = None
    outcome: Outcome | None = None
    problem: str | None = None
    """Why nothing is proven."""

    @property
    def kind(self) -> str:
        return self.stages[0].partition("-")[0]

    @property
    def proven(self) -> bool:
        return self.problem is None and self.outcome is not None and self.outcome.same


def upgrade(accepting: Sequence[str] = (), reason: str | None = None, own: Sequence[str] = ()) -> int:
    """Try the code as it is now, write down what is proven, and tell the rest; return 1 when something is left.

    `accepting`: kinds or patterns of stages that are recorded though nothing is proven, for the given `reason`. `own`:
    stages that are executed as they are, each for itself, in place of a small one. Raises HeirloomError.
    """
    if accepting and not reason:
        raise HeirloomError("--accept records what is not proven: say why with --reason")
    ledger = open_ledger(local_data=False)
    candidates, _ = acceptable(ledger, ledger.names)
    mine = own_stages(ledger, candidates, own)
    proven = try_own(ledger, candidates, mine)
    by_own = {name for same in proven for name in same.stages}
    groups, others = grouped({name: each for name, each in candidates.items() if name not in mine})
    pending = [group for group in groups if not is_accepted(group, accepting)]
    known: list[Same] = []
    if pending:
        known = try_groups(ledger, pending)
    taken = {name for group in pending if group.proven for name in group.stages}
    by_hand = {name: each for name, each in candidates.items() if any(matches(name, text) for text in accepting)}
    by_hand = {name: each for name, each in by_hand.items() if name not in taken | by_own}
    known += [*proven, *unproven(ledger, by_hand, reason)]
    record(ledger, {name: candidates[name] for name in (*by_own, *taken, *by_hand)}, known)
    for group in pending:
        print(told(group))
    for name in sorted(by_hand):
        print(f"accepted, not proven: {name}")
    left = [group for group in pending if not group.proven]
    for group in left:
        tell_left(ledger, group)
    for name in (name for name in others if name not in by_hand):
        print(f"left: {name}: a function of yours changed, not the project: `make accept STAGE={name}`, or `snakemake`")
    if not groups and not others and not mine:
        print("no stage is stale by the project's code alone")
    return 1 if left or len(by_own) < len(mine) or [name for name in others if name not in by_hand] else 0


def grouped(candidates: dict[str, Candidate]) -> tuple[list[Group], list[str]]:
    """Return the groups of stages of which only the project's code changed, and the stages with other code, too."""
    groups: dict[tuple, Group] = {}
    others = []
    for name, candidate in candidates.items():
        inputs = candidate.inputs
        programs = [program_of(path) for path in inputs]
        if len(inputs) != 1 or programs[0] is None:
            others.append(name)
            continue
        (then, now), text = next(iter(inputs.values())), combination(name, candidate.after)
        key = (programs[0], text, then, now)
        groups.setdefault(key, Group(programs[0], text, then, now)).stages.append(name)
    return list(groups.values()), others


def matches(name: str, pattern: str) -> bool:
    """Tell whether a stage is of a kind, or of a name that matches."""
    return name.partition("-")[0] == pattern or fnmatchcase(name, pattern)


def is_accepted(group: Group, accepting: Sequence[str]) -> bool:
    """Tell whether all stages of a group are accepted without a proof."""
    return all(any(matches(name, text) for text in accepting) for name in group.stages)


def try_groups(ledger: Ledger, groups: list[Group]) -> list[Same]:
    """Find the earlier code of each group, try both, and note in the groups what came out; return what is proven."""
    changes: dict[tuple[str, str], Changes] = {}
    for group in groups:
        find_earlier(ledger, group, changes, [other.commit for other in groups if other.commit])
    for commit in dict.fromkeys(group.commit for group in groups if group.commit and not group.problem):
        some = [group for group in groups if group.commit == commit and not group.problem]
        wanted = {group.stages[0]: group.combination for group in some}
        subjects = subjects_of(ledger.graph, wanted)
        folder = Path(tempfile.mkdtemp(prefix="heirloom-upgrade-"))
        started = time.monotonic()
        try:
            outcomes = try_out(commit, wanted, subjects, folder, lambda text: print(text, flush=True))
        except HeirloomError as error:
            outcomes = {name: Outcome({}, {}, str(error)) for name in wanted}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{len(outcomes)} small stages were executed with both in {time.monotonic() - started:.0f} s")
        for group in some:
            group.outcome = outcomes.get(group.stages[0])
            group.problem = group.outcome.problem if group.outcome else "its small version is not in both graphs"
        missed = unexecuted(some, changes)
        for group in some:
            mine = missed.get((group.program, group.then), [])
            if group.problem is None and group.outcome.same and mine:
                group.problem = f"no small stage executes {', '.join(mine[:SHOWN])}" + (
                    f" and {len(mine) - SHOWN} more" if len(mine) > SHOWN else ""
                )
    return [proof_of(group, changes[group.program, group.then]) for group in groups if group.proven]


def subjects_of(graph: Graph, wanted: Iterable[str]) -> set[str]:
    """Return what stages and those they stand on are of: names of files in config/.

    A stage that is of no run (rows, a tokenizer, a model) is one only beside a run that needs it, so one comes along.
    """
    needed = graph.ancestors(wanted)
    for name in wanted:
        if not any(graph.stages[above].run for above in graph.ancestors([name])):
            readers = sorted(below for below in graph.descendants([name]) if graph.stages[below].run)
            needed |= graph.ancestors(readers[:1])
    stages = [graph.stages[name] for name in needed]
    return {subject for stage in stages for subject in (stage.subject, stage.run) if subject is not None}


def find_earlier(ledger: Ledger, group: Group, changes: dict[tuple[str, str], Changes], likely: Sequence[str]) -> None:
    """Note the commit of the code that made a group's results, or why there is none.

    `likely`: commits that had the code of other groups; with one of them for all, fewer clones are needed.
    """
    from_outside = group.kind == "download" and "source.generator" not in group.combination
    if from_outside or "source.processed" in group.combination.split():
        group.problem = FETCHING
        return
    made = [ledger.history.made_with(name, ledger.entries[name]) for name in group.stages]
    noted = [str(each["commit"]).removesuffix("-dirty") for each in made if each.get("commit")]
    found = earlier_code(group.program, group.then, [*likely, *noted])
    if found is None:
        group.problem = "the code that made it is in no commit, so it cannot be executed again"
        return
    group.commit = found[0]
    if (group.program, group.then) not in changes:
        now = {path: Path(path).read_bytes() for path in code(group.program)}
        changes[group.program, group.then] = changes_between(found[1], now)


def unexecuted(groups: list[Group], changes: dict[tuple[str, str], Changes]) -> dict[tuple[str, str], list[str]]:
    """Return (program, earlier code) → places of statements that changed and that no small stage of it executed."""
    found = {}
    for key in {(group.program, group.then) for group in groups}:
        lines: tuple[dict[str, set[int]], dict[str, set[int]]] = ({}, {})
        for group in groups:
            if group.outcome is not None:
                for all_of_them, executed in zip(lines, group.outcome.executed, strict=True):
                    for path, numbers in executed.items():
                        all_of_them.setdefault(path, set()).update(numbers)
        missed = [each.place for each in not_executed(changes[key].after, lines[1])]
        missed += [f"{each.place} as it was" for each in not_executed(changes[key].before, lines[0])]
        found[key] = missed
    return found


def proof_of(group: Group, changes: Changes) -> Same:
    """Return what the history says of a group: what was executed, with which code, and the hashes that came out."""
    edited = "-dirty" if git("status", "--porcelain", "--", "scripts", "workflow") else ""
    proof = {
        "executed": group.stages[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commits": [group.commit, f"{(current_commit() or '').removesuffix('-dirty')}{edited}"],
        "outs": group.outcome.after,
    }
    if changes.renamed:
        proof["renamed"] = {old.strip("'"): new.strip("'") for old, new in changes.renamed.items()}
    inputs = dict.fromkeys([f"workflow/code/{Path(group.program).stem}.txt"], (group.then, group.now))
    return Same(inputs, combinations=frozenset([group.combination]), proof=proof)


def told(group: Group) -> str:
    """Return what came out for a group, in one line."""
    names = ", ".join(group.stages[:SHOWN]) + (
        f" and {len(group.stages) - SHOWN} more" if len(group.stages) > SHOWN else ""
    )
    if group.problem:
        return f"unproven: {names}: {group.problem}"
    if not group.outcome.same:
        differing = [path for path, value in group.outcome.after.items() if group.outcome.before.get(path) != value]
        failure = group.outcome.after.get("it failed")
        return f"other bytes: {names}: " + (f"the new code fails: {failure}" if failure else f"{', '.join(differing)}")
    return f"same bytes: {names}"


def tell_left(ledger: Ledger, group: Group) -> None:
    """Tell what the changelog says of a group that is left, and what executing it again would take."""
    seconds = [ledger.history.made_with(name, ledger.entries[name]).get("seconds", 0) for name in group.stages]
    print(f"  executing {group.kind} again took {sum(seconds) / 60:.1f} min of {len(seconds)} stages when it was made")
    for line in bytes_since(group.commit, group.kind) if group.commit else ():
        print(f"  CHANGELOG.md: {line}")
    print(f"  `snakemake` makes it again; `make upgrade ACCEPT={group.kind} REASON='…'` records it as it is, unproven")
