"""An interrupted training goes on where it was and ends with the same bytes; ranks and launcher are really killed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from training_workplace import training_command, tree

from heirloom.loss_history import LossHistory
from heirloom.resuming import COMPLETE, claim, newest_complete

OFTEN = {"logging_steps": 1, "save_steps": 2}


def processes_in(folder: Path) -> list[int]:
    """Return the processes whose current folder is `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:  # it ended, or is not ours to look at
            continue
    return found


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.0005)


def test_a_launcher_killed_while_a_checkpoint_is_written(workplace, runs):
    """SIGKILL leaves no rank behind; the half-written checkpoint is not taken up, the one before it is."""
    command = training_command(workplace, "pretrain", "killed/pretrain", OFTEN)
    launcher = workplace.start(*command)
    work = workplace.folder / "killed" / "pretrain" / ".checkpoint.work"
    wait_for(lambda: (work / "checkpoint-8").is_dir())
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not processes_in(workplace.folder), seconds=10)
    assert (work / "checkpoint-6" / COMPLETE).is_file() and not (work / "checkpoint-8" / COMPLETE).is_file()
    assert not (workplace.folder / "killed" / "pretrain" / "checkpoint").exists()

    said = workplace.launch(*command).stdout
    assert "checkpoint-8: was not written to its end, deleted" in said
    assert "resuming from checkpoint-6" in said and "step 6/12" not in said
    assert tree(workplace.folder / "killed" / "pretrain") == tree(runs[0] / "pretrain")


def test_a_rank_killed_at_zero3(workplace, zero3_runs):
    command = training_command(workplace, "dpo", "killed/dpo", OFTEN, zero="zero3")
    launcher = workplace.start(*command)
    work = workplace.folder / "killed" / "dpo" / ".checkpoint.work"
    wait_for(lambda: (work / "checkpoint-6" / COMPLETE).is_file())
    ranks = [number for number in processes_in(workplace.folder) if b"RANK=1" in environment_of(number)]
    os.kill(ranks[0], signal.SIGKILL)
    assert launcher.wait(timeout=60) != 0
    log = (workplace.folder / "logs" / "dpo_train-checkpoint.log").read_text()
    assert "Signal 9" in log

    assert "resuming from checkpoint-" in workplace.launch(*command).stdout
    assert tree(workplace.folder / "killed" / "dpo") == tree(zero3_runs / "dpo")


def environment_of(process: int) -> list[bytes]:
    return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")


def checkpoint(work: Path, step: int, complete: bool = True) -> Path:
    folder = work / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    if complete:
        (folder / COMPLETE).write_text("{}")
    return folder


def test_state_of_another_training_is_never_taken_up(tmp_path, capsys):
    claim(tmp_path, {"learning_rate": 1.0})
    checkpoint(tmp_path, 10)
    claim(tmp_path, {"learning_rate": 1.0})
    assert newest_complete(tmp_path).name == "checkpoint-10"
    claim(tmp_path, {"learning_rate": 2.0})
    assert "the work of another training: starting afresh" in capsys.readouterr().out
    assert newest_complete(tmp_path) is None


@pytest.mark.parametrize(("name", "value"), [("HEIRLOOM_IDENTITY", "b" * 64), ("WORLD_SIZE", "4")])
def test_identity_and_number_of_ranks_tell_trainings_apart(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv("HEIRLOOM_IDENTITY", "a" * 64)
    claim(tmp_path, {})
    checkpoint(tmp_path, 10)
    monkeypatch.setenv(name, value)
    claim(tmp_path, {})
    assert newest_complete(tmp_path) is None


def test_checkpoints_that_nobody_claimed_are_not_taken_up(tmp_path):
    checkpoint(tmp_path, 10)
    claim(tmp_path, {})
    assert newest_complete(tmp_path) is None


def test_the_newest_complete_checkpoint_counts_by_number(tmp_path):
    for step, complete in ((8, True), (10, True), (12, False)):
        checkpoint(tmp_path, step, complete)
    assert newest_complete(tmp_path).name == "checkpoint-10"
    assert not (tmp_path / "checkpoint-12").exists()


def test_a_long_history_is_thinned_the_same_way_when_interrupted(tmp_path):
    """2,500 steps make rows of 3 steps; saving and loading in the middle of such a row changes nothing."""
    whole, first, second = LossHistory(), LossHistory(), LossHistory()
    for step in range(1, 2501):
        whole.add_step(step, 2500, {"loss": 1.0 / step})
        (first if step <= 1000 else second).add_step(step, 2500, {"loss": 1.0 / step})
        if step == 1000:
            first.save(tmp_path)
            second.load(tmp_path)
    assert second.rows == whole.rows and second.loss_sum == whole.loss_sum
    assert len(whole.rows) <= 1000 and whole.rows[0] == {"step": 3, "loss": (1 + 1 / 2 + 1 / 3) / 3}
    assert json.loads((tmp_path / "loss_history.json").read_text())["pending"]
