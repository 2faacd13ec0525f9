"""What launch.py asks once DVC has started it for a stage: before the stage's program runs, and after it has ended."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from heirloom.artifacts import remove
from heirloom.errors import HeirloomError
from heirloom.launcher.dvc_hashes import stat_signature
from pipeline.code import bring_in_step
from pipeline.dvc_project import dvc_repository
from pipeline.execution.local_job import FORCE, OF_JOB, current_hash
from pipeline.execution.restore import put_in_place
from pipeline.graph import Graph, Stage, dvcfile, load_graph
from pipeline.ledger import (
    UNREADABLE,
    Entry,
    Fingerprints,
    History,
    Listings,
    absent_data,
    config_sections,
    differences,
    expected_entry,
    identity_of,
    read_lock,
    recorded_outs,
)


def begin(name: str, words: Sequence[str]) -> None:
    """Answer launch.py: the stage's identity, whether its result is back already, what it makes, reads and asks for.

    Prints one JSON line. `words` is what launch.py was started with. An earlier result counts when the stage returns
    to it, or when the one that dvc.lock holds was lost or edited; when that is here and whole, the user forced the
    execution. Raises HeirloomError when the command is not the one that the config means now.
    """
    graph = load_graph(strict=OF_JOB not in os.environ)[1]
    stage = graph.stage(name)
    dvcfile.check_stage(stage, words, graph.members)
    bring_in_step([stage.program])  # DVC records the file as it lies there
    entries = read_lock()
    expected = entry_now(stage, graph, entries)
    history = History()
    history.add_executed_here(name)  # its record is about to be replaced
    restored = FORCE not in os.environ and is_back(name, expected, entries.get(name), history)
    if not restored:
        for path in stage.products:
            remove(Path(path))
    reads = (*stage.deps, *stage.params, *stage.code)
    answer = {
        "identity": identity_of(expected),
        "restored": restored,
        "products": stage.products,
        "reads": {path: stat_signature(path) for path in reads},
        "gpus": None if stage.is_light else stage.gpus,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def entry_now(stage: Stage, graph: Graph, entries: dict[str, Entry]) -> Entry:
    """Return what executing a stage now would record. Raises HeirloomError when an input is missing."""
    with Fingerprints() as fingerprints:
        hash_of = current_hash(graph, entries, fingerprints)
        expected = expected_entry(stage, hash_of, config_sections(), recorded_outs(entries))
    odd = [dep["path"] for dep in expected["deps"] if dep["md5"] == UNREADABLE] if expected else []
    if odd:
        raise HeirloomError(f"{stage.name}: its input {', '.join(odd)} cannot be read: a link that leads nowhere?")
    if expected is None:
        missing = [path for path in stage.deps if not Path(path).exists()]
        raise HeirloomError(
            f"{stage.name}: missing input {', '.join(missing)}: run `snakemake` or `dvc repro`, which make it"
        )
    return expected


def is_back(name: str, expected: Entry, recorded: Entry | None, history: History) -> bool:
    """Bring back what an earlier execution made; tell whether it is in the working tree now."""
    if recorded is not None and identity_of(recorded) == identity_of(expected):
        with Fingerprints() as fingerprints, Listings() as listings:
            whole = not absent_data(recorded, fingerprints, listings)
        return not whole and put_in_place(name, recorded)
    return any(lies_here(entry) or put_in_place(name, entry) for entry in history.find(name, expected))


def lies_here(entry: Entry) -> bool:
    """Tell whether the working tree has the result already: DVC was killed, or had no room, before it was saved."""
    with Fingerprints() as fingerprints:
        return all(fingerprints.of(out["path"]) == out["md5"] for out in entry["outs"])


def end(name: str, identity: str) -> None:
    """Raise HeirloomError when a stage that has just ended is not what was begun: something was edited meanwhile.

    The result stays what it is, one of the earlier config, and is brought back when that returns.
    """
    graph = load_graph(strict=OF_JOB not in os.environ)[1]
    stage = graph.stage(name)
    bring_in_step([stage.program])
    entries = read_lock()
    expected = entry_now(stage, graph, entries)
    if identity_of(expected) == identity:
        return
    history = History()
    history.add_executed_here(name)
    save_products(stage)
    changed = []
    if (recorded := entries.get(name)) is not None:
        with Fingerprints() as fingerprints:
            changed = differences(stage, recorded, current_hash(graph, entries, fingerprints), config_sections())
    told = f" ({'; '.join(changed[:3])})" if changed else ""
    raise HeirloomError(
        f"{name} is not what was executed any more{told}: its config, code or inputs were edited while it ran, so its "
        "result is not recorded; it is kept for when you return to that config; run again for what is there now"
    )


def save_products(stage: Stage) -> None:
    """Put the products of a stage into DVC's cache, as they lie there."""
    with dvc_repository() as repo:
        for out in repo.stage.load_one(name=stage.name).outs:
            out.add()
