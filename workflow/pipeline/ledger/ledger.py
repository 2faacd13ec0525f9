"""The ledger: dvc.lock held against the config, the code and the data as they are now."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from heirloom.errors import HeirloomError
from pipeline.graph import Graph, Stage, load_graph
from pipeline.ledger import markers
from pipeline.ledger.cache import Listings, absent_data, run_cache_folder
from pipeline.ledger.config_sections import config_sections
from pipeline.ledger.entries import Entry
from pipeline.ledger.fingerprints import Fingerprints
from pipeline.ledger.history import History
from pipeline.ledger.lockfile import DamagedLockError, read_lock
from pipeline.ledger.staleness import Action, Verdict, judge
from pipeline.paths import MARKERS


@dataclass
class Ledger:
    """What is recorded, what holds, and what is to be done."""

    graph: Graph
    names: list[str]
    """The selected stages, in run order."""
    entries: dict[str, Entry]
    """What dvc.lock records, with the entries found elsewhere (`adopted`) in place."""
    adopted: dict[str, Entry]
    """Entries that hold for the config as it is now and are not in dvc.lock yet."""
    verdicts: dict[str, Verdict]
    history: History
    warnings: list[str]
    damaged: str | None
    """What is wrong with dvc.lock, when it cannot be read."""

    def to_do(self) -> list[str]:
        """Return the stages that are not current, in run order."""
        return [name for name in self.names if self.verdicts[name].action is not Action.CURRENT]

    def current(self) -> dict[str, Entry]:
        """Return the selected stages whose entry holds and whose data is where it should be."""
        return {name: self.entries[name] for name in self.names if self.verdicts[name].action is Action.CURRENT}


def open_ledger(local_data: bool = True, runs: str | None = None, force: Iterable[str] = ()) -> Ledger:
    """Read config, code, dvc.lock and (with `local_data`) the data's stats; give every stage its verdict.

    `runs` selects runs by name or pattern (comma-separated) with all that they stand on; None selects every stage.
    Raises HeirloomError for mistakes in the config, and for runs or stages that do not exist.
    """
    project, graph = load_graph()
    names = selected(graph, project, runs)
    force = checked_stage_names(graph, force)
    entries, damaged = recorded_entries(graph)
    history = History(run_cache=run_cache_folder())
    with Fingerprints() as fingerprints, Listings() as listings:

        def missing_data(name: str, entry: Entry) -> list[str]:
            return absent_data(entry, fingerprints, listings) if local_data else []

        def candidates(stage: Stage, expected: Entry) -> Iterator[Entry]:
            returned = markers.read_marker(MARKERS, stage.artifact)
            yield from [returned] if returned else []
            yield from history.find(expected)

        verdicts, adopted = judge(
            graph, names, entries, fingerprints.of, config_sections(), missing_data, candidates, force
        )
    return Ledger(
        graph=graph,
        names=names,
        entries=entries | adopted,
        adopted=adopted,
        verdicts=verdicts,
        history=history,
        warnings=list(project.warnings),
        damaged=damaged,
    )


def selected(graph: Graph, project, runs: str | None) -> list[str]:
    """Return the selected stages in run order. Raises HeirloomError for a pattern that names no enabled run."""
    if runs is None:
        return list(graph.stages)
    chosen: set[str] = set()
    for pattern in str(runs).split(","):
        matching = [run for run in project.runs if fnmatchcase(run, pattern)]
        stages = [name for run in matching for name in graph.stages if graph.stages[name].subject == run]
        if not matching:
            raise HeirloomError(
                f"--config runs={runs}: no run is called {pattern}; config/runs/ has {', '.join(project.runs)}"
            )
        if not stages:
            disabled = ", ".join(f"config/runs/{run}.yaml" for run in matching)
            raise HeirloomError(f"--config runs={runs}: not enabled: set `enabled: true` in {disabled}")
        chosen |= graph.ancestors(stages)
    return [name for name in graph.stages if name in chosen]


def checked_stage_names(graph: Graph, names: Iterable[str]) -> list[str]:
    """Return the names. Raises HeirloomError for one that is not a stage."""
    names = list(names)
    unknown = [name for name in names if name not in graph.stages]
    if unknown:
        raise HeirloomError(f"force: no stage is called {', '.join(unknown)}; `make plan` lists all stages")
    return names


def recorded_entries(graph: Graph) -> tuple[dict[str, Entry], str | None]:
    """Return what dvc.lock records; a damaged lock is rebuilt from the markers, and its damage told."""
    try:
        return read_lock(), None
    except DamagedLockError as error:
        found = {name: markers.read_marker(MARKERS, stage.artifact) for name, stage in graph.stages.items()}
        return {name: entry for name, entry in found.items() if entry}, str(error)
