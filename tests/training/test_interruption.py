"""Signals and failures from outside: a training keeps its work, says one sentence, and never looks finished.

The launcher and its ranks are real, and so are the signals, the full disk and the memory that is refused.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from training_workplace import TRAINING, training_command, tree, write_dataset
from watched_processes import handles, processes_in, ranks_in, wait_for

from heirloom.failures import sentence_of
from heirloom.resuming import COMPLETE

STOP = 128 + signal.SIGTERM


def complete_checkpoints(work: Path) -> list[int]:
    return sorted(int(file.parent.name.removeprefix("checkpoint-")) for file in work.glob(f"checkpoint-*/{COMPLETE}"))


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1]


@pytest.fixture(scope="module")
def measured(workplace):
    """A training of 30 steps whose held-out rows take seconds to measure: at its start, after 20 steps and at its end.

    A function: folder of the outputs → the launcher's arguments.
    """
    from datasets import load_from_disk

    train, test = (load_from_disk(workplace.folder / "text" / split).to_list() for split in ("train", "test"))
    write_dataset(workplace.folder / "measured", "text", train, (train + test) * 6)
    training = {**TRAINING, "max_steps": 30, "eval_strategy": "steps", "eval_steps": 20}
    tracking = {"logging_steps": 1, "save_steps": 7, "save_total_limit": 2}
    return lambda output: workplace.training(
        *("train.py", output),
        dataset="measured",
        base="model",
        training=training,
        tracking=tracking,
        resources={"dataloader_num_workers": 1},
    )


def test_sigterm_in_every_phase_keeps_the_step_and_the_bytes(workplace, measured):
    """While the first held-out rows are measured, in a step, while the next ones are: then on to the same end."""
    command = measured("stopped")
    outputs = workplace.folder / "stopped"
    work = outputs / ".checkpoint.work"

    def stop_when(condition) -> str:
        launcher = workplace.start(*command)
        wait_for(lambda: condition(launcher))
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=60) == STOP
        assert not processes_in(workplace.folder)
        assert [file.name for file in outputs.iterdir()] == [work.name]
        return workplace.said_by(launcher)

    def ranks() -> list[int]:
        return list(ranks_in(workplace.folder).values())

    said = stop_when(lambda _: len(ranks()) == 2)  # libraries load
    assert last_line(said).startswith("train-checkpoint failed: stopped by SIGTERM; ")

    said = stop_when(lambda _: len(found := ranks()) == 2 and all(handles(rank, signal.SIGTERM) for rank in found))
    assert last_line(said) == (
        "train-checkpoint failed: stopped by SIGTERM before the first step; started again, it begins anew"
    )
    assert not list(work.glob("checkpoint-*"))

    said = stop_when(lambda launcher: "step 9/30" in workplace.said_by(launcher))
    step = int(re.search(r"stopped by SIGTERM at step (\d+) of 30; a checkpoint of that step is kept", said)[1])
    assert 9 <= step < 20 and complete_checkpoints(work) == [*range(7, step, 7), step][-2:]

    said = stop_when(lambda launcher: "step 20/30  loss" in workplace.said_by(launcher))
    assert f"resuming from checkpoint-{step}" in said and f"step {step}/30" not in said
    assert "stopped by SIGTERM at step 20 of 30" in last_line(said) and "step 20/30  held-out" not in said
    assert complete_checkpoints(work) == [max(step, 14), 20]

    said = workplace.launch(*command).stdout
    assert "resuming from checkpoint-20" in said and "step 20/30  held-out" in said and not work.exists()
    workplace.launch(*measured("whole"))
    assert tree(outputs) == tree(workplace.folder / "whole")
