"""One Snakemake job: bring one stage up to date, by the cheapest means."""

import os
import select
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from heirloom.errors import HeirloomError
from heirloom.failures import causes, sentence_of
from pipeline.code import bring_in_step
from pipeline.dvc_project import dvc_repository, release_what_the_dead_hold, sentence, set_aside_damaged_lock
from pipeline.execution.restore import bring_own_data, put_in_place
from pipeline.graph import Graph, Stage, load_graph
from pipeline.ledger import (
    Entry,
    Fingerprints,
    History,
    Listings,
    absent_data,
    config_sections,
    differences,
    dvc_lock,
    expected_entry,
    read_lock,
    recorded_outs,
    recording_by_blocks,
    write_entries,
    write_marker,
)
from pipeline.paths import DVC_LOCK

FORCE = "HEIRLOOM_FORCE"
"""Environment variable of an execution that the user forces: no earlier result takes its place."""
OF_JOB = "HEIRLOOM_OF_JOB"
"""Environment variable of an execution that a job began: mistakes in files of other stages do not stop it, since who
started the workflow was told of them. Under a plain `dvc repro` they stop everything."""
CONTROLLER = "HEIRLOOM_CONTROLLER"
"""Environment variable with the process id of the Snakemake process that a local job belongs to."""


def run_stage(name: str, marker: Path, force: bool = False) -> None:
    """Bring a stage up to date and write its marker: nothing to do, restore, or execute through DVC.

    Raises HeirloomError when the stage fails; its script's own last error stands above in the output.
    """
    end_with_controller()
    graph = load_graph(strict=False)[1]
    stage = graph.stage(name)
    entry = None if force else holding_entry(stage, graph)
    if entry is None or not data_is_here(name, entry):
        bring_in_step([stage.program])
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
        found = History().find(stage.name, expected) if expected else ()
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


def pull(names: Sequence[str] = ()) -> None:
    """Bring what is recorded of all stages, or of these, and the user's own data. Executes nothing.

    Raises HeirloomError for a stage that is none or that has no record, and when some data is nowhere to be had.
    """
    if own := bring_own_data():
        raise HeirloomError(f"{', '.join(own)}: the data is not on the remote: `dvc push` where it was added")
    graph, entries = load_graph()[1], read_lock()
    bring_in_step(graph.programs)
    chosen = [graph.stage(name).name for name in names] or [name for name in graph.stages if name in entries]
    if unknown := [name for name in chosen if name not in entries]:
        raise HeirloomError(
            f"{', '.join(unknown)}: {DVC_LOCK} records no execution: `git pull`, or `snakemake` makes it"
        )
    lost = [name for name in chosen if not data_is_here(name, entries[name])]
    if lost:
        raise HeirloomError(
            f"{', '.join(lost)}: the data is not on the remote, or not as {DVC_LOCK} records it: "
            "`dvc push` where it was made, or let `snakemake` make it again"
        )


def execute(name: str, force: bool) -> Entry:
    """Let DVC execute and record one stage; return its new entry. Raises HeirloomError when it fails."""
    from dvc.exceptions import DvcException
    from dvc.stage.exceptions import StageCmdFailedError

    print(f"{name}: started, log in logs/{name}.log", flush=True)
    os.environ["DVC_NO_ANALYTICS"] = "1"
    os.environ[OF_JOB] = "1"
    os.environ.pop(FORCE, None)
    if force:
        os.environ[FORCE] = "1"
    before = read_lock().get(name)
    set_aside_damaged_lock()
    release_what_the_dead_hold()
    try:
        with dvc_repository() as repo, recording_by_blocks():
            repo.reproduce(name, single_item=True, force=force)
    except (DvcException, OSError) as error:
        if any(isinstance(each, StageCmdFailedError) for each in causes(error)):
            raise HeirloomError(
                f"{name} failed; what it said is above and in logs/{name}.log; its earlier result, if any, is kept"
            ) from error
        raise HeirloomError(
            f"{name}: DVC failed beside the stage's program: {sentence_of(error) or sentence(error)}; a result that "
            "was made is kept and taken up by the next run"
        ) from error
    entry = read_lock()[name]
    history = History()
    if not history.executed(name, entry):
        withdraw(name, before)
    learn_products(entry)
    history.add({name: entry})
    return entry


def withdraw(name: str, before: Entry | None) -> None:
    """Take back an entry for what was not executed: something changed after the program had ended. Raises always."""
    with dvc_lock():
        write_entries({name: before})
    History().add_executed_here(name)
    raise HeirloomError(
        f"{name}: its config, code, inputs or result were changed while DVC saved it, so nothing is recorded: "
        "type `snakemake` again"
    )


def learn_products(entry: Entry) -> None:
    """Remember the hashes that DVC has just recorded, so that the next look needs none."""
    with Fingerprints() as fingerprints:
        for out in entry["outs"]:
            fingerprints.learn(out["path"], out["md5"])
