"""One Snakemake job: bring one stage up to date, by the cheapest means."""

import json
import os
import select
import signal
import sys
import threading
from pathlib import Path

from heirloom.errors import HeirloomError
from pipeline.execution.restore import put_in_place
from pipeline.graph import Graph, Stage, load_graph
from pipeline.ledger import (
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
    recording_by_blocks,
    write_marker,
)

CONTROLLER = "HEIRLOOM_CONTROLLER"
"""Environment variable with the process id of the Snakemake process that a local job belongs to."""


def run_stage(name: str, marker: Path, force: bool = False) -> None:
    """Bring a stage up to date and write its marker: nothing to do, restore, or execute through DVC.

    Raises HeirloomError when the stage fails; its script's own last error stands above in the output.
    """
    end_with_controller()
    graph = load_graph()[1]
    stage = graph.stages[name]
    entry = None if force else holding_entry(stage, graph)
    if entry is None or not data_is_here(name, entry):
        entry = execute(name, force)
    write_marker(marker, entry)


def end_with_controller() -> None:
    """Stop this job when the Snakemake process that started it dies, even by SIGKILL.

    Otherwise the job would go on unseen, and the next `snakemake` would find its stage busy.
    """
    controller = os.environ.get(CONTROLLER)
    if controller is None or not hasattr(os, "pidfd_open"):
        return

    def watch(descriptor: int) -> None:
        select.select([descriptor], [], [])
        os.kill(os.getpid(), signal.SIGTERM)  # launch.py and its ranks end with us

    try:
        descriptor = os.pidfd_open(int(controller))
    except OSError:
        raise HeirloomError("the `snakemake` that started this job is gone") from None
    threading.Thread(target=watch, args=(descriptor,), daemon=True).start()


def holding_entry(stage: Stage, graph: Graph) -> Entry | None:
    """Return the recorded entry if it holds for the stage as it is now."""
    entries = read_lock()
    entry = entries.get(stage.name)
    with Fingerprints() as fingerprints:
        changed = differences(stage, entry, current_hash(graph, entries, fingerprints), config_sections())
    return None if changed else entry


def known_result(stage: Stage, graph: Graph) -> Entry | None:
    """Return the entry of an earlier execution, as the history has it, of exactly what the stage is now."""
    entries = read_lock()
    with Fingerprints() as fingerprints:
        hash_of = current_hash(graph, entries, fingerprints)
        expected = expected_entry(stage, hash_of, config_sections(), recorded_outs(entries))
        found = History().find(expected) if expected else ()
        return next((entry for entry in found if not differences(stage, entry, hash_of, config_sections())), None)


def current_hash(graph: Graph, entries: dict[str, Entry], fingerprints: Fingerprints):
    """Return a function: path → content hash; what lies in the working tree comes first, then what is recorded."""
    recorded = recorded_outs(entries)

    def hash_of(path: str) -> str | None:
        return fingerprints.of(path) or (recorded.get(path, {}).get("md5") if path in graph.makers else None)

    return hash_of


def data_is_here(name: str, entry: Entry) -> bool:
    """See to it that an entry's data is in the working tree and the cache; False when it cannot be had."""
    with Fingerprints() as fingerprints, Listings() as listings:
        missing = absent_data(entry, fingerprints, listings)
    if not missing:
        print(f"{name}: up to date", flush=True)
        return True
    if put_in_place(name, entry):
        print(f"{name}: restored ({'; '.join(missing)})", flush=True)
        learn_products(entry)
        return True
    return False


def execute(name: str, force: bool) -> Entry:
    """Let DVC execute and record one stage; return its new entry. Raises HeirloomError when it fails."""
    from dvc.cli import main as dvc

    print(f"{name}: started, log in logs/{name}.log", flush=True)
    flags = ["--force"] if force else []
    os.environ["DVC_NO_ANALYTICS"] = "1"
    with recording_by_blocks():
        failed = dvc(["--wait-for-lock", "repro", "--quiet", "--single-item", *flags, name]) != 0
    if failed:
        raise HeirloomError(
            f"{name} failed; what it said is above and in logs/{name}.log; its earlier result, if any, is kept"
        )
    entry = read_lock()[name]
    learn_products(entry)
    History().add({name: entry})
    return entry


def learn_products(entry: Entry) -> None:
    """Remember the hashes that DVC has just recorded, so that the next look needs none."""
    with Fingerprints() as fingerprints:
        for out in entry["outs"]:
            fingerprints.learn(out["path"], out["md5"])


def begin(name: str) -> None:
    """Answer launch.py, which DVC has just started for a stage: its identity, and whether an earlier result is back.

    Prints one JSON line. An earlier result counts only when the stage returns to it; when dvc.lock already holds
    it, the user forced the execution.
    """
    graph = load_graph()[1]
    stage = graph.stages[name]
    entries = read_lock()
    with Fingerprints() as fingerprints:
        hash_of = current_hash(graph, entries, fingerprints)
        expected = expected_entry(stage, hash_of, config_sections(), recorded_outs(entries))
    if expected is None:
        missing = [path for path in stage.deps if not Path(path).exists()]
        raise HeirloomError(
            f"{name}: missing input {', '.join(missing)}: run `snakemake` or `dvc repro`, which make it"
        )
    identity = identity_of(expected)
    recorded = entries.get(name)
    restored = False
    if recorded is None or identity_of(recorded) != identity:
        earlier = History().find(expected)
        restored = any(put_in_place(name, entry) for entry in earlier)
    sys.stdout.write(json.dumps({"identity": identity, "restored": restored}) + "\n")
