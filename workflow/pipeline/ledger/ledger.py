"""The ledger: dvc.lock held against the config, the code and the data as they are now."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from heirloom.config.parsing.mistakes import MANY, closest
from heirloom.config.project import ConfigErrors, Mistake, Project
from heirloom.errors import HeirloomError
from pipeline.code import carry_over
from pipeline.graph import Graph, Stage, dvcfile, load_graph
from pipeline.ledger import markers
from pipeline.ledger.cache import Listings, absent_data, is_near
from pipeline.ledger.config_sections import config_sections
from pipeline.ledger.entries import Entry
from pipeline.ledger.fingerprints import UNREADABLE, Fingerprints
from pipeline.ledger.history import History
from pipeline.ledger.lockfile import DamagedLockError, last_committed_lock, read_lock, replace_damaged, write_entries
from pipeline.ledger.locking import dvc_lock
from pipeline.ledger.sharing import only_here
from pipeline.ledger.staleness import Action, Verdict, judge
from pipeline.paths import MARKERS


@dataclass
class Ledger:
    """What is recorded, what holds, and what is to be done."""

    project: Project
    """The configuration that the graph was made from."""
    graph: Graph
    names: list[str]
    """The selected stages, in run order."""
    entries: dict[str, Entry]
    """What dvc.lock records, with the entries found elsewhere (`adopted`) in place."""
    adopted: dict[str, Entry]
    """Entries that hold for the config as it is now and are not in dvc.lock yet."""
    verdicts: dict[str, Verdict]
    near: set[str]
    """The stages to restore whose data is on this machine: of the others a restore may turn out impossible."""
    history: History
    warnings: list[str]
    selection: str | None
    """The runs that were selected, as the user wrote them."""
    damaged: str | None
    """What is wrong with dvc.lock, when it cannot be read."""

    def to_do(self) -> list[str]:
        """Return the stages that are not current, in run order."""
        return [name for name in self.names if self.verdicts[name].action is not Action.CURRENT]

    def to_do_or_to_follow(self) -> list[str]:
        """Return these stages, and all that stand on one whose restore may turn out impossible, in run order."""
        to_do = self.to_do()
        far = [name for name in to_do if self.verdicts[name].action is Action.RESTORE and name not in self.near]
        wanted = {*to_do, *self.graph.descendants(far)}
        return [name for name in self.names if name in wanted]

    def current(self) -> dict[str, Entry]:
        """Return the selected stages whose entry holds and whose data is where it should be."""
        return {name: self.entries[name] for name in self.names if self.verdicts[name].action is Action.CURRENT}


def open_ledger(
    local_data: bool = True, runs: str | None = None, force: str | None = None, gates: Sequence[str] = ()
) -> Ledger:
    """Read config, code, dvc.lock and (with `local_data`) the data's stats; give every stage its verdict.

    `runs` selects runs by name or pattern (comma-separated) with all that they stand on; None selects every stage.
    `gates` selects of these the gates of some runs, with all that they stand on.
    Raises HeirloomError for mistakes in the config, and for runs or stages that do not exist; mistakes in files on
    which no selected run stands are warnings.
    """
    typed = f"--config runs={runs}"
    if gates and runs is None:
        runs, typed = ",".join(gates), " ".join(f"gate-{run}" for run in gates)
    project, graph = load_graph(strict=runs is None)
    names = selected(graph, project, runs, typed)
    if gates:
        wanted = graph.ancestors(gate_of(run, graph, names) for run in gates)
        names = [name for name in names if name in wanted]
    force = checked_stage_names(graph, listed("force", force) or ())
    entries, damaged = recorded_entries(graph)
    history = History()
    carried = carry_over(graph, entries)
    history.learn_carried(carried, entries)
    entries |= carried.entries
    with Fingerprints() as fingerprints, Listings() as listings:

        def missing_data(name: str, entry: Entry) -> list[str]:
            return absent_data(entry, fingerprints, listings) if local_data else []

        def file_hash(path: str) -> str | None:
            value = fingerprints.of(path)
            if value == UNREADABLE:
                raise HeirloomError(
                    f"{path} cannot be read: a link that leads nowhere or in a circle, or no permission; a stage reads "
                    "it, so mend it or remove it from the config"
                )
            return value

        def candidates(stage: Stage, expected: Entry) -> Iterator[Entry]:
            if (returned := markers.returned_marker(MARKERS, stage.artifact)) is not None:
                yield returned
            yield from history.find(stage.name, expected)
            if stage.name in entries and history.is_same(stage.name, entries[stage.name], expected):
                yield expected | {"outs": entries[stage.name]["outs"]}  # recorded, though not executed by us

        sections = config_sections(graph.members)
        verdicts, adopted = judge(graph, names, entries, file_hash, sections, missing_data, candidates, force)
        adopted = carried.entries | adopted
        found = entries | adopted
        restored = [name for name, verdict in verdicts.items() if verdict.action is Action.RESTORE]
        near = {name for name in restored if is_near(found[name], fingerprints, listings)}
    return Ledger(
        project=project,
        graph=graph,
        names=names,
        entries=found,
        adopted=adopted,
        verdicts=verdicts,
        near=near,
        history=history,
        warnings=[*map(str, project.warnings), *left_out(project.mistakes), *only_here(project)],
        selection=runs,
        damaged=damaged,
    )


def selected(graph: Graph, project, runs: str | None, typed: str) -> list[str]:
    """Return the selected stages in run order; `typed` is what the user wrote. Raises HeirloomError for a pattern that
    names no enabled run, or one that is broken or stands on a file that is.
    """
    if runs is None:
        return list(graph.stages)
    chosen: set[str] = set()
    for pattern in listed("runs", runs):
        matching = {run for run in project.runs if fnmatchcase(run, pattern)}
        stages = [name for name, stage in graph.stages.items() if stage.subject in matching]
        if any(fnmatchcase(run, pattern) for run in project.broken_runs):
            raise ConfigErrors(project.mistakes)
        if not matching and any(pattern.startswith(f"{sweep}-") for sweep in project.unknown_members):
            raise ConfigErrors(project.mistakes)
        if not matching:
            known = sorted({*project.runs, *project.broken_runs})
            near = closest(pattern, known) if len(known) > MANY else None
            remedy = f"did you mean {near}?" if near else f"there are {dvcfile.some(known, MANY)}"
            raise HeirloomError(f"{typed}: no run is called {pattern}; {remedy}")
        if not stages:
            disabled = ", ".join(project.runs[run].path for run in sorted(matching))
            raise HeirloomError(f"{typed}: not enabled: set `enabled: true` in {disabled}")
        chosen |= graph.ancestors(stages)
    return [name for name in graph.stages if name in chosen]


def gate_of(run: str, graph: Graph, names: Sequence[str]) -> str:
    """Return the stage that holds a run against its gates. Raises HeirloomError when none of these names is it."""
    if (name := f"gate-{run}") in names:
        return name
    if name in graph.stages:
        raise HeirloomError(f"{name}: --config runs= does not select {run}: leave one of the two out")
    raise HeirloomError(
        f"{name}: config/ gives {run} no `gates:`, so nothing says what it must reach: add them to its file "
        "(docs/evaluation.md)"
    )


def left_out(mistakes: Sequence[Mistake]) -> list[str]:
    """Return what to tell of mistakes on which no selected run stands."""
    remedy = "what stands on these files is not selected and stays as dvc.yaml and dvc.lock have it"
    return [*map(str, mistakes), remedy] if mistakes else []


def listed(setting: str, text: str | None) -> list[str] | None:
    """Return the names of a comma-separated setting, None for one that is not given.

    Raises HeirloomError for a name that is missing, as where a shell's variable was empty: that is not "all".
    """
    if text is None:
        return None
    names = [name.strip() for name in str(text).split(",")]
    if not all(names):
        raise HeirloomError(
            f"{setting}={text}: a name is missing; give one or several, {setting}=NAME,NAME, or leave it out"
        )
    return names


def checked_stage_names(graph: Graph, names: Iterable[str]) -> list[str]:
    """Return the names. Raises HeirloomError for one that is not a stage."""
    names = list(names)
    for name in names:
        graph.stage(name)
    return names


def carry_lock_over(graph: Graph) -> int:
    """Bring entries that an earlier version wrote into dvc.lock into the form of today; return how many there were.

    A damaged dvc.lock is written anew before, and that is said.
    """
    entries, damaged = recorded_entries(graph)
    if damaged:
        with dvc_lock():
            replace_damaged(entries)
        print(f"{damaged}; put aside as dvc.lock.damaged, {len(entries)} entries written anew from markers and commit")
    carried = carry_over(graph, entries)
    if carried.entries:
        history = History()
        history.learn_carried(carried, entries)
        history.add_same([])
        with dvc_lock():
            write_entries(carried.entries)
    return len(carried.entries)


def recorded_entries(graph: Graph) -> tuple[dict[str, Entry], str | None]:
    """Return what dvc.lock records; of a damaged lock what markers and the last commit have, and its damage."""
    try:
        return read_lock(), None
    except DamagedLockError as error:
        made = {name: markers.read_marker(MARKERS, stage.artifact) for name, stage in graph.stages.items()}
        return last_committed_lock() | {name: entry for name, entry in made.items() if entry}, error.what
