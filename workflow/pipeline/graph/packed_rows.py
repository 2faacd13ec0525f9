"""Rows that are packed or joined before a training, once for all that take them so: `data/packed/DATASET-HOW`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from heirloom.config.before_training.packing import packing_strategy
from heirloom.config.sweeps.members import fit
from heirloom.config.trainers.table import TRAINERS
from pipeline.graph.commands import command
from pipeline.graph.stages import Stage, each_once

SCRIPT = "scripts/pack_dataset.py"
FOLDER = "data/packed"


def pack_stages(runs: Iterable, project) -> Iterator[Stage]:
    """Pack the rows of the runs that train on packed ones, each dataset once in each way."""
    for run, output in each_once(runs, packed_rows):
        name, dataset = Path(output).name, f"data/processed/{run.dataset}"
        metrics = counts_of_packed(output)
        strategy, length = packing_strategy(TRAINERS[run.trainer], run.training), run.training.seq_length
        flags = {"dataset": dataset, "strategy": strategy, "seq_length": str(length) if length else None}
        yield Stage(
            kind="pack",
            subject=name,
            cmd=command("python", SCRIPT, None, [], **flags, output=output, metrics=metrics),
            inputs={"dataset": (dataset,)},
            program=SCRIPT,
            outs=(output,),
            metrics=(metrics,),
        )


def packed_rows(run) -> str | None:
    """Return where the packed rows of a run's training are; None where it takes rows as they are."""
    strategy = packing_strategy(TRAINERS[run.trainer], run.training) if run.trainer is not None else None
    if strategy is None:
        return None
    return f"{FOLDER}/{fit(run.dataset)}-{strategy}-{run.training.seq_length or 'max'}"


def counts_of_packed(output: str) -> str:
    """Return the file that has the counts of packed rows."""
    return f"metrics/packed/{Path(output).name}.json"
