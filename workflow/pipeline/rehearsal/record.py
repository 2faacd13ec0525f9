"""Which runs passed a rehearsal as they are now, on this machine: a name and a hash each, in a file of its own.

The hash is of what decides a run and all that it stands on: commands, code, config sections, files of the user's. It
is not of artifacts: a rehearsal makes its own.
"""

from collections.abc import Iterable
from typing import Any

from pipeline.graph import Graph, Stage
from pipeline.ledger import Action, Entry, Fingerprints, Ledger, config_sections, params_now
from pipeline.paths import STATE
from pipeline.rehearsal.what_is_made import digest
from pipeline.remembering import recall, remember

FILE = STATE / "rehearsed.json"
_VERSION = 1
MOST_NAMES = 5


def note_rehearsed(keys: dict[str, str]) -> None:
    """Note that runs passed; `keys` are those of `keys_of` from before."""
    remember(FILE, _VERSION, recall(FILE, _VERSION) | keys)


def keys_of(runs: Iterable[str], graph: Graph, decisive: dict[str, list[Any]]) -> dict[str, str]:
    """Return run → the hash of what decides it; `decisive` is that of all stages (`decisive_parts`)."""
    return {
        run: digest(sorted((name, decisive[name]) for name in needed))
        for run, needed in ((run, stages_of(run, graph)) for run in runs)
    }


def decisive_parts(graph: Graph) -> dict[str, list[Any]]:
    """Return stage → command, config sections and hashes of files, as they are now."""
    sections = config_sections(graph.members)
    with Fingerprints() as fingerprints:
        return {
            name: [
                stage.cmd,
                params_now(stage, sections),
                {path: fingerprints.of(path) for path in stage.deps if path not in graph.makers},
            ]
            for name, stage in graph.stages.items()
        }


def recorded_parts(entry: Entry, graph: Graph) -> list[Any]:
    """Return the same of what dvc.lock records of an execution."""
    files = {dep["path"]: dep.get("md5") for dep in entry.get("deps", []) if dep["path"] not in graph.makers}
    return [entry["cmd"], entry.get("params", {}), files]


def stages_of(run: str, graph: Graph) -> set[str]:
    """Return the stages of a run and all that they stand on."""
    return graph.ancestors(name for name, stage in graph.stages.items() if belongs(stage, run))


def belongs(stage: Stage, run: str) -> bool:
    """Tell whether a stage is a run's own."""
    return stage.of_run and stage.subject == run


def unrehearsed(ledger: Ledger, here: Iterable[str] = ()) -> list[str]:
    """Return the runs of which something would be executed and that were neither rehearsed nor executed as they are.

    `here` are kinds of stages that need no rehearsal. Executed is a run when every stage that it stands on was, with
    the commands, code, sections and files of now; whatever happened to its data since.
    """
    graph = ledger.graph
    would = [graph.stages[name] for name in ledger.names if ledger.verdicts[name].action in (Action.RUN, Action.FOLLOW)]
    runs = sorted({stage.subject for stage in would if stage.of_run and stage.kind not in here})
    if not runs:
        return []
    known, decisive = recall(FILE, _VERSION), decisive_parts(graph)
    recorded = {name: recorded_parts(entry, graph) for name, entry in ledger.entries.items() if name in graph.stages}
    keys = keys_of(runs, graph, decisive)
    return [
        run
        for run in runs
        if known.get(run) != keys[run] and any(recorded.get(name) != decisive[name] for name in stages_of(run, graph))
    ]


def advice(runs: list[str]) -> str:
    """Return what to say of runs that were not rehearsed."""
    more = f" and {len(runs) - MOST_NAMES} more" if len(runs) > MOST_NAMES else ""
    return (
        f"neither rehearsed nor executed as they are now: {', '.join(runs[:MOST_NAMES])}{more}; "
        f"`make rehearse RUN={runs[0]}` executes every stage in small, here, before it is paid for"
    )
