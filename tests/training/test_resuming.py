"""An interrupted training goes on where it was and ends with the same bytes; ranks and launcher are really killed."""

import json
import math
import os
import signal
from pathlib import Path

import pytest
from training_workplace import training_command, tree
from warm_start import OF_EACH_RANK, warm_ranks
from watched_processes import processes_in, ranks_in, wait_for

from heirloom import distributed
from heirloom.training.callbacks.loss_history import LossHistory
from heirloom.training.callbacks.resuming import COMPLETE, claim_work_folder, newest_complete

OFTEN = {"logging_steps": 1, "save_steps": 2}


def test_a_launcher_killed_while_a_checkpoint_is_written(workplace, runs):
    """SIGKILL leaves no rank behind; the half-written checkpoint is not taken up, the one before it is."""
    command = training_command(workplace, "pretrain", "killed/pretrain", OFTEN)
    work = workplace.folder / "killed" / "pretrain" / ".checkpoint.work"
    for step in (6, 8, 10):  # SIGKILL may come too late on a busy machine; then the next one is tried
        launcher = workplace.start(*command)
        wait_for((work / f"checkpoint-{step}").is_dir, every=0.0005)
        launcher.kill()
        launcher.wait()
        wait_for(lambda: not processes_in(workplace.folder), seconds=10)
        if not (work / f"checkpoint-{step}" / COMPLETE).is_file():
            break
    assert (work / f"checkpoint-{step - 2}" / COMPLETE).is_file()
    assert not (work / f"checkpoint-{step}" / COMPLETE).is_file()
    assert not (workplace.folder / "killed" / "pretrain" / "checkpoint").exists()

    said = workplace.launch(*command, **warm_ranks(OF_EACH_RANK)).stdout
    assert f"checkpoint-{step}: was not written to its end, deleted" in said
    assert f"resuming from checkpoint-{step - 2}" in said and f"step {step - 2}/12" not in said
    assert tree(workplace.folder / "killed" / "pretrain") == tree(runs[0] / "pretrain")


def test_a_rank_killed_at_zero3(workplace, zero3_runs):
    command = training_command(workplace, "dpo", "killed/dpo", OFTEN, zero="zero3")
    launcher = workplace.start(*command)
    work = workplace.folder / "killed" / "dpo" / ".checkpoint.work"
    wait_for(lambda: (work / "checkpoint-6" / COMPLETE).is_file())
    assert not list(
        (work / "checkpoint-6").rglob("*.safetensors")
    )  # DeepSpeed's own parts are all that is gone on from
    os.kill(ranks_in(workplace.folder)[1], signal.SIGKILL)
    assert launcher.wait(timeout=60) == 1
    last = workplace.said_by(launcher).splitlines()[-1]
    assert last.startswith("dpo_train-checkpoint failed: rank 1 was killed by signal 9; unless someone did that, the ")
    assert not processes_in(workplace.folder) and (newest_complete(work) / COMPLETE).is_file()
    assert not (workplace.folder / "killed" / "dpo" / "checkpoint").exists()

    assert "resuming from checkpoint-" in workplace.launch(*command, **warm_ranks(OF_EACH_RANK)).stdout
    assert tree(workplace.folder / "killed" / "dpo") == tree(zero3_runs / "dpo")


def checkpoint(work: Path, step: int, complete: bool = True) -> Path:
    folder = work / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    if complete:
        (folder / COMPLETE).write_text("{}")
    return folder


def test_state_of_another_training_is_never_taken_up(tmp_path, capsys):
    claim_work_folder(tmp_path, {"learning_rate": 1.0})
    checkpoint(tmp_path, 10)
    claim_work_folder(tmp_path, {"learning_rate": 1.0})
    assert newest_complete(tmp_path).name == "checkpoint-10"
    claim_work_folder(tmp_path, {"learning_rate": 2.0})
    assert "the work of another training: starting afresh" in capsys.readouterr().out
    assert newest_complete(tmp_path) is None


@pytest.mark.parametrize(("name", "value"), [("HEIRLOOM_IDENTITY", "b" * 64), ("WORLD_SIZE", "4")])
def test_identity_and_number_of_ranks_tell_trainings_apart(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv("HEIRLOOM_IDENTITY", "a" * 64)
    claim_work_folder(tmp_path, {})
    checkpoint(tmp_path, 10)
    monkeypatch.setenv(name, value)
    claim_work_folder(tmp_path, {})
    assert newest_complete(tmp_path) is None


def test_checkpoints_that_nobody_claimed_are_not_taken_up(tmp_path):
    checkpoint(tmp_path, 10)
    claim_work_folder(tmp_path, {})
    assert newest_complete(tmp_path) is None


def test_the_newest_complete_checkpoint_counts_by_number(tmp_path):
    for step, complete in ((8, True), (10, True), (12, False)):
        checkpoint(tmp_path, step, complete)
    assert newest_complete(tmp_path).name == "checkpoint-10"
    assert not (tmp_path / "checkpoint-12").exists()


def test_a_checkpoint_counts_only_where_all_files_of_all_hosts_have_come(tmp_path, monkeypatch):
    """Hosts that share no disk get each other's files through S3, which may hold less than was written."""
    for step in (3, 6, 9):
        folder = checkpoint(tmp_path, step)
        files = {"rng_state_0.pth": 4, "global_step1/zero_pp_rank_1.pt": 5}
        (folder / "global_step1").mkdir()
        for name, size in files.items():
            (folder / name).write_bytes(bytes(size))
        (folder / COMPLETE).write_text(json.dumps({"step": step, "files": files}))
    (tmp_path / "checkpoint-9" / "global_step1" / "zero_pp_rank_1.pt").write_bytes(bytes(2))
    monkeypatch.setattr(distributed, "gathered", lambda here: [here, {"checkpoint-3", "checkpoint-9"}])
    assert newest_complete(tmp_path).name == "checkpoint-3"
    assert sorted(folder.name for folder in tmp_path.glob("checkpoint-*")) == ["checkpoint-3"]


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


def test_a_norm_that_is_infinite_is_no_infinity_in_json(tmp_path):
    """As in a step of fp16 that DeepSpeed skips, because its scaled gradients overflow."""
    before, after = LossHistory(), LossHistory()
    for step, norm in ((1, math.inf), (2, math.nan), (3, 0.5)):
        before.add_step(step, 3, {"loss": 1.0, "grad_norm": norm})
    before.save(tmp_path)
    json.loads((tmp_path / "loss_history.json").read_text(), parse_constant=pytest.fail)
    after.load(tmp_path)
    assert [row["grad_norm"] for row in after.rows[::2]] == [math.inf, 0.5] and math.isnan(after.rows[1]["grad_norm"])
    assert [row["grad_norm"] for row in after.repeatable_rows] == [None, None, 0.5]
    after.write_csv(tmp_path / "loss.csv")
    assert (tmp_path / "loss.csv").read_text().splitlines()[1:] == ["1,1.0,", "2,1.0,", "3,1.0,0.5"]
