"""What every rule uses; there is no rule here.

A rule reads as dataset → checkpoint; the files that Snakemake sees are small markers (workflow/pipeline/ledger/markers.py),
present while the artifact's entry in dvc.lock holds.

    artifact("checkpoints/{run}")      the output of a rule: the marker of that artifact
    reads("train", "dataset")          an input of a rule: what the stage train-{run} reads under that name
    machines("train")                  resources: what the run's own `resources:` section asks for, else the profile
    accelerators("train")              the GPUs here that the stage takes, so that others may have the rest
    command("train")                   what the stage train-{run} executes; a job's shell block begins with it
    forced("train")                    `--force` for a stage that `--config force=…` names
    IMAGE                              the container of all stages: `--sdm apptainer --config image=…` (docs/image.md)
"""

import sys

sys.path[:0] = [workflow.basedir, f"{workflow.basedir}/../scripts"]

from pipeline.defects import one_sentence
from pipeline.interpreter import interpreter_first_on_path
from pipeline.session import open_session

interpreter_first_on_path()
try:
    SESSION = open_session(workflow, config)
except Exception as error:
    sys.exit(
        f"error: {one_sentence(error)}"
    )  # a mistake of the user's: no trace, no line of this file

artifact = SESSION.artifact
reads = SESSION.inputs
machines = SESSION.machines
accelerators = SESSION.accelerators
command = SESSION.command
forced = SESSION.flags
IMAGE = SESSION.image


onstart:
    SESSION.begin()


onsuccess:
    SESSION.end(succeeded=True)


onerror:
    SESSION.end(succeeded=False)


wildcard_constraints:
    dataset=r"[\w.-]+",
    model=r"[\w.-]+",
    run=r"[\w.-]+",
    baseline=r"[\w.-]+",
    scores=r"[\w.-]+",
    reference=r"[\w.-]+",
    packed=r"[\w.-]+",
