"""Signals and failures from outside: a training keeps its work, says one sentence, and never looks finished.

The launcher and its ranks are real, and so are the signals, the full disk and the memory that is refused.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import load_from_disk
from training_workplace import TRAINING, tree, write_dataset
from transformers import AutoConfig, AutoModelForCausalLM
from watched_processes import handles, processes_in, ranks_in, wait_for

from heirloom.training.callbacks.resuming import COMPLETE


def complete_checkpoints(work: Path) -> list[int]:
    return sorted(int(file.parent.name.removeprefix("checkpoint-")) for file in work.glob(f"checkpoint-*/{COMPLETE}"))


def last_line(text: str) -> str:
    return text.rstrip().splitlines()[-1]


@pytest.fixture(scope="module")
def measured(workplace):
    """A training of 45 steps whose held-out rows take a while to measure: at its start, after 40 steps and at its end.

    A function: folder of the outputs → the launcher's arguments.
    """
    train, test = (load_from_disk(workplace.folder / "text" / split).to_list() for split in ("train", "test"))
    write_dataset(workplace.folder / "measured", "text", train, (train + test) * 12)
    training = {**TRAINING, "max_steps": 45, "eval_strategy": "steps", "eval_steps": 40}
    tracking = {"logging_steps": 1, "save_steps": 7, "save_total_limit": 2}
    return lambda output: workplace.training(
        *("train.py", output),
        dataset="measured",
        base="model",
        training=training,
        tracking=tracking,
        resources={"dataloader_num_workers": 1},
    )


@pytest.fixture(scope="module")
def warm(workplace):
    """The workplace for trainings whose processes nobody looks at: only the others begin as a user's do."""
    return replace(workplace, warm=True)


@pytest.fixture(scope="module")
def whole(workplace, warm, measured):
    """The files of that training without any interruption."""
    warm.launch(*measured("whole"))
    return tree(workplace.folder / "whole")


def test_sigterm_in_every_phase_keeps_the_step_and_the_bytes(workplace, warm, measured, whole):
    """While libraries load, held-out rows are measured, a step is taken, others are measured: then on to the same end.

    Its data loaders are processes of their own, which a signal to their rank must not end.
    """
    command = measured("stopped")
    outputs = workplace.folder / "stopped"
    work = outputs / ".checkpoint.work"

    def stop_when(condition, place=workplace) -> str:
        launcher = place.start(*command)
        wait_for(lambda: condition(launcher))
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=60) == 128 + signal.SIGTERM
        assert not processes_in(workplace.folder)
        assert [file.name for file in outputs.iterdir()] == [work.name]
        return workplace.said_by(launcher)

    def ranks() -> list[int]:
        return list(ranks_in(workplace.folder).values())

    said = stop_when(lambda _: len(ranks()) == 2)
    assert last_line(said).startswith("train-checkpoint failed: stopped by SIGTERM; ")

    said = stop_when(lambda _: len(found := ranks()) == 2 and all(handles(rank, signal.SIGTERM) for rank in found))
    assert last_line(said) == (
        "train-checkpoint failed: stopped by SIGTERM before the first step; started again, it begins anew"
    )
    assert not list(work.glob("checkpoint-*"))

    said = stop_when(lambda launcher: "step 9/45" in workplace.said_by(launcher), warm)
    step = int(re.search(r"stopped by SIGTERM at step (\d+) of 45; a checkpoint of that step is kept", said)[1])
    assert 9 <= step < 40 and complete_checkpoints(work) == [*range(7, step, 7), step][-2:]

    config = workplace.folder / command[command.index("--config") + 1]
    config.write_text(config.read_text().replace('"save_steps": 7', '"save_steps": 9'))
    said = stop_when(lambda launcher: "step 40/45  loss" in workplace.said_by(launcher), warm)
    assert f"resuming from checkpoint-{step}" in said and f"step {step}/45" not in said
    assert "stopped by SIGTERM at step 40 of 45" in last_line(said) and "step 40/45  held-out" not in said
    assert complete_checkpoints(work) == [max(step, 36), 40]  # as often as was asked for when it went on

    said = warm.launch(*command).stdout
    assert "resuming from checkpoint-40" in said and "step 40/45  held-out" in said and not work.exists()
    assert tree(outputs) == whole


@pytest.fixture
def small_disk(workplace):
    """A file system of 16 MB at `full` in the workplace."""
    folder = workplace.folder / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill the file system of `folder` but for `leave` bytes; return the file that does."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65536)):
            pass
    os.truncate(ballast, ballast.stat().st_size - leave)
    return ballast


def test_a_full_disk_costs_no_more_than_what_did_not_fit(workplace, warm, measured, whole, small_disk):
    """It is full when a checkpoint is written, then when the finished model is."""
    command = measured("full/run")
    outputs = small_disk / "run"
    work = outputs / ".checkpoint.work"

    launcher = warm.start(*command)
    wait_for(lambda: complete_checkpoints(work))
    ballast = fill(small_disk, leave=0)
    assert launcher.wait(timeout=60) == 1
    said = last_line(workplace.said_by(launcher))
    assert said.startswith("train-checkpoint failed: full/run/.checkpoint.work") and "0.0 MB are free there" in said
    assert complete_checkpoints(work) and not (outputs / "checkpoint").exists()
    assert not processes_in(workplace.folder)

    ballast.unlink()
    shutil.move(work, workplace.folder / "roomy")
    work.symlink_to(workplace.folder / "roomy")
    ballast = fill(small_disk, leave=65536)
    done = warm.launch(*command, check=False)
    assert done.returncode == 1 and "resuming from checkpoint-" in done.stdout
    said = last_line(done.stdout)
    assert re.match(r"train-checkpoint failed: full/run could not be written to: 0\.[01] MB are free there; ", said)
    assert complete_checkpoints(work)[-1] == 45
    assert not any("checkpoint" in file.name for file in outputs.iterdir() if file != work)

    ballast.unlink()
    said = warm.launch(*command).stdout
    assert "resuming from checkpoint-45" in said and "step 46" not in said and "step 45/45  loss" not in said
    work.unlink(missing_ok=True)
    assert tree(outputs) == whole


def test_memory_that_is_refused_and_a_rank_that_is_waited_for_in_vain(workplace, measured):
    """Rank 1 gets no more address space just before the first batch; then rank 1 is stopped in its steps."""
    base = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(workplace.folder / "model", num_hidden_layers=1, intermediate_size=100_000)
    )
    base.save_pretrained(workplace.folder / "wide")
    for file in (workplace.folder / "tokenizer").iterdir():
        shutil.copy(file, workplace.folder / "wide")
    training = {**TRAINING, "per_device_train_batch_size": 64, "global_batch_size": 128}
    command = workplace.training("train.py", "wide-run", dataset="text", base="wide", training=training)
    launcher = workplace.start(*command)
    wait_for(lambda: 1 in (found := ranks_in(workplace.folder)) and handles(found[1], signal.SIGTERM))
    rank = ranks_in(workplace.folder)[1]
    size = int(Path(f"/proc/{rank}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(rank, resource.RLIMIT_AS, (size, size))
    assert launcher.wait(timeout=60) == 1
    assert last_line(workplace.said_by(launcher)).startswith(
        "train-checkpoint failed: rank 1 ran out of memory (it asked for "
    )
    assert not processes_in(workplace.folder) and not (workplace.folder / "wide-run" / "checkpoint").exists()

    command = measured("waiting")
    config = workplace.folder / command[command.index("--config") + 1]
    config.write_text(config.read_text().replace('"dataloader_num_workers": 1', '"ddp_timeout": 5'))
    launcher = workplace.start(*command)
    wait_for(lambda: "step 8/45" in workplace.said_by(launcher))
    rank = ranks_in(workplace.folder)[1]
    os.kill(rank, signal.SIGSTOP)
    wait_for(lambda: "rank 0 waited" in workplace.said_by(launcher))
    os.kill(rank, signal.SIGCONT)
    assert launcher.wait(timeout=60) == 1
    assert "failed: rank 0 waited 5 s for another rank in vain" in last_line(workplace.said_by(launcher))
    assert not processes_in(workplace.folder)
    assert complete_checkpoints(workplace.folder / "waiting" / ".checkpoint.work")
