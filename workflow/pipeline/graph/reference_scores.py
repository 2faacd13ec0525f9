"""What the base of preference trainings gives their rows, computed once for all runs that compare with it.

It follows from the base, the rows, and the keys that decide a pass of the model, and from no run. So it is one
artifact, `reference_scores/BASE-on-DATASET-xxxxxxxx`, whatever beta, loss or seed the runs have, and its command has
the keys themselves in place of a run's file: a run that comes or goes changes neither its name nor its inputs.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from heirloom.config.before_training.reference_scores import deciding_keys, reads_reference_scores
from heirloom.config.trainers.table import TRAINERS
from pipeline.graph.commands import command
from pipeline.graph.model_loading import (
    PORTABLE,
    TRUST,
    checkpoint_of,
    deepspeed_file,
    model_folders,
    portable,
    trust_of,
)
from pipeline.graph.stages import Stage, each_once, shared_name

SCRIPT = "scripts/score_reference.py"
FOLDER = "reference_scores"


def reference_stages(runs: Iterable, project) -> Iterator[Stage]:
    """Let bases score the rows of the runs that are trained against them, each only once.

    What several runs share has the `resources:` of the first of them by name.
    """
    for run, output in each_once(runs, lambda run: reference_scores(run, project)):
        yield Stage(
            kind="reference",
            subject=Path(output).name,
            cmd=reference_command(run, project, output),
            inputs={"dataset": (f"data/processed/{run.dataset}",), "base": model_folders(run.base, project)},
            program=SCRIPT,
            files=tuple(filter(None, [deepspeed_file(run)])),
            outs=(output,),
            resources=run.resources.machines("training").model_dump(exclude_none=True),
            first_run=run.name,
        )


def reference_scores(run, project) -> str | None:
    """Return where the scores are that a run's training reads; None where it computes them itself, or has none."""
    if run.trainer is None or not reads_reference_scores(TRAINERS[run.trainer], run.training, run.peft):
        return None
    base = Path(checkpoint_of(run.base, project)).name
    return f"{FOLDER}/{shared_name(base, run.dataset, reference_command(run, project))}"


def reference_command(run, project, output: str | None = None) -> str:
    """Return the command that scores a run's rows by its base; without `output` what all of it follows from."""
    flags: dict[str, str | None] = {"trainer": run.trainer, "dataset": f"data/processed/{run.dataset}"}
    flags |= {"base": checkpoint_of(run.base, project), "deepspeed": deepspeed_file(run)}
    flags |= {"training": json.dumps(deciding_keys(TRAINERS[run.trainer], run.training), sort_keys=True)}
    if run.quantization is not None:
        flags["quantization"] = json.dumps(run.quantization.model_dump(exclude_defaults=True), sort_keys=True)
    flags |= {"beneath_adapter": "true" if run.peft is not None else None}
    flags |= {TRUST: trust_of(run, project), PORTABLE: portable(run)}
    return command("torchrun", SCRIPT, None, [], **flags, output=output)
