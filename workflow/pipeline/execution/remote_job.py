"""One Snakemake job of a session whose data belongs on the DVC remote: in a training job, or here, for CPU stages."""

import time
from pathlib import Path

from heirloom.errors import HeirloomError
from pipeline.code import bring_in_step
from pipeline.execution import training_job
from pipeline.execution.local_job import end_with_controller, execute, holding_entry, known_result
from pipeline.execution.transfer import bring_inputs, learn_inputs, push, refuse_read_only_remote
from pipeline.graph import Graph, Stage, load_graph
from pipeline.ledger import Entry, identity_of, write_marker
from pipeline.records import add_to_record


def run_stage(name: str, marker: Path, force: bool = False) -> None:
    """Bring a stage up to date and write its marker, the last of all: then its result is on the remote.

    A result that is known already stays where it is: nothing is moved for it. Raises HeirloomError when the stage
    fails, an input is not on the remote, or the result cannot be pushed.
    """
    end_with_controller()
    away = training_job.in_training_job()
    if away:
        training_job.set_up_host()
    graph = load_graph(strict=False)[1]
    stage = graph.stage(name)
    learn_inputs(stage, graph)
    entry = None if force else holding_entry(stage, graph) or known_result(stage, graph)
    if entry is not None:
        print(f"{name}: up to date", flush=True)
    else:
        entry = make_away(stage, graph, force) if away else make(stage, graph, force)
    write_marker(marker, entry)


def make(stage: Stage, graph: Graph, force: bool) -> Entry:
    """Execute a stage with inputs from the remote and products to it; return its new entry."""
    refuse_read_only_remote()
    started = time.monotonic()
    bring_inputs(stage, graph)
    fetched = time.monotonic() - started
    bring_in_step([stage.program])
    entry = execute(stage.name, force)
    started = time.monotonic()
    push(stage.name, entry)
    took = {"fetch_s": round(fetched, 1), "push_s": round(time.monotonic() - started, 1)}
    add_to_record(stage.name, identity_of(entry), took)
    return entry


def make_away(stage: Stage, graph: Graph, force: bool) -> Entry:
    """Do the same in a training job, which returns files to the submitting machine and says why it failed."""
    try:
        entry = make(stage, graph, force)
    except HeirloomError as error:
        training_job.return_files(stage, succeeded=False)
        training_job.explain(stage.name, error)
        raise
    training_job.return_files(stage, succeeded=True)
    training_job.forget_work(stage.name)
    return entry
