"""Execute the stages of a prepared rehearsal one after the other, until one fails."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.launcher.failure import reason_of_failure
from pipeline.graph import Stage
from pipeline.rehearsal.preparation import Prepared
from pipeline.rehearsal.what_is_made import ingredients

FOREIGN = ("SLURM_", "SM_", "DVC_", "HEIRLOOM_", "CUDA_", "NVIDIA_")
"""Beginnings of variables that stages of a rehearsal do not get: it has this machine and no GPU, and no ledger."""


def rehearse(prepared: Prepared, tell: Callable[[str], None]) -> None:
    """Execute every stage that the folder does not hold yet; `tell` gets a line for each.

    Raises HeirloomError when one fails: which, why, where its log is, and what to do.
    """
    above: dict[str, Any] = {}
    for number, name in enumerate(prepared.stages, 1):
        stage = prepared.graph.stages[name]
        above[name] = ingredients(stage, prepared.graph, prepared.folder, above)
        if prepared.made.holds(name, *above[name]):
            continue
        prepared.made.forget(name)
        begun = time.monotonic()
        execute(stage, prepared.folder)
        prepared.made.note(name, *above[name])
        tell(f"{name} ({number} of {len(prepared.stages)}): {time.monotonic() - begun:.0f} s")


def execute(stage: Stage, folder: Path) -> None:
    """Execute a stage's own command in the folder. Raises HeirloomError when it fails."""
    done = subprocess.run(
        [sys.executable, *shlex.split(stage.cmd)[1:]],
        cwd=folder,
        env=environment(stage.name),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    log = folder / "logs" / f"{stage.name}.log"
    said = done.stdout.splitlines()
    if not log.is_file():  # the launcher itself refused
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stdout, encoding="utf-8")
    ours = [line.removeprefix(f"{stage.name} failed: ") for line in said if line.startswith(f"{stage.name} failed: ")]
    reason = ours[-1] if ours else reason_of_failure(said, done.returncode)
    raise HeirloomError(f"{stage.name} fails: {reason}; its log is {log}; {remedy(stage)}")


def remedy(stage: Stage) -> str:
    """Return what to look at: the sections of config/ that decide the stage."""
    places = [f"{', '.join(sections)} in {file}" for file, sections in stage.params.items()]
    return f"mend {' and '.join(places) or 'its files'}, and rehearse again: what went well is not made twice"


def environment(stage: str) -> dict[str, str]:
    """Return the variables of a stage's program: the user's own, on CPU ranks of this machine, without a network."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return own | {"CUDA_VISIBLE_DEVICES": "", "DVC_STAGE": stage, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
