"""What is recorded is what was executed, and no edit of config/ goes unseen by either engine."""

import re
import shutil

from clone import Clone, succeeded


def test_dvc_is_never_blind_to_config(clone: Clone) -> None:
    """A new run, a removed one, a changed command: only dvc.yaml would show them, which DVC has read by then."""
    run = (clone.folder / "config/runs/other.yaml").read_text()
    checkpoint = clone.folder / "checkpoints/other/content.txt"
    clone.write("config/runs/more.yaml", run)
    assert "check-config" in clone.dvc("status").stdout
    done = clone.dvc("repro")
    assert done.returncode != 0
    assert "dvc.yaml is out of step with config/ (new: report-more, train-more): `make dvc.yaml`" in done.stderr
    (clone.folder / "config/runs/more.yaml").unlink()
    (clone.folder / "config/runs/other.yaml").unlink()
    done = clone.dvc("repro", "--keep-going")
    assert "(gone: report-other, train-other)" in done.stderr
    assert checkpoint.exists()
    clone.write("config/runs/other.yaml", run + "\ndeepspeed: zero0\n")
    done = clone.dvc("repro", "train-other")
    assert "(changed: report-other, train-other)" in done.stderr
    assert clone.executed() == []
    succeeded(clone.pipeline("write"))
    succeeded(clone.dvc("repro"))
    assert clone.executed() == ["report-other", "train-other"]
    clone.nothing_to_do()


def test_nothing_is_recorded_under_a_command_that_is_not_its_own(clone: Clone) -> None:
    """Without `check-config` before it, the stage itself refuses, before anything is removed."""
    lock = (clone.folder / "dvc.lock").read_text()
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    clone.edit("config/runs/sft.yaml", "base: pre", "base: other")
    done = clone.dvc("repro", "--single-item", "train-sft")
    assert done.returncode != 0
    assert "dvc.yaml is out of step with config/ and the code in train-sft: `make dvc.yaml` brings it" in done.stderr
    assert (clone.folder / "dvc.lock").read_text() == lock
    assert (clone.folder / "checkpoints/sft/content.txt").exists()
    assert clone.executed() == []


def test_dvc_commit_is_no_proof_of_an_execution(clone: Clone) -> None:
    clone.edit("config/runs/other.yaml", "learning_rate: 1e-5", "learning_rate: 9e-5")
    succeeded(clone.dvc("commit", "--force", "train-other", "report-other"))
    assert clone.plan() == {}  # dvc.lock says so, as the user wanted
    succeeded(clone.snakemake())
    clone.git("checkout", "dvc.lock")
    assert clone.plan()["train-other"] == "run: training.learning_rate 1e-05 → 9e-05"
    succeeded(clone.dvc("repro", "train-other"))
    assert clone.executed() == ["train-other"]
    # what DVC made counts, also when its entry is lost
    clone.git("checkout", "dvc.lock")
    assert "train-other" not in clone.plan()


def test_an_edit_while_a_stage_runs_is_not_recorded_as_executed(clone: Clone) -> None:
    lock = (clone.folder / "dvc.lock").read_text()
    clone.edit("config/runs/other.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    process = clone.start_slow("train-other", "dvc", "repro", "train-other")
    clone.edit("config/runs/other.yaml", "learning_rate: 2e-5", "learning_rate: 3e-5")
    clone.go_on()
    said = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "train-other is not what was executed any more (training.learning_rate 1e-05 → 3e-05)" in said
    assert "train-other:" in (clone.folder / "dvc.lock").read_text()
    assert "3e-05" not in (clone.folder / "dvc.lock").read_text() and "2e-05" not in lock
    clone.executed()
    clone.edit("config/runs/other.yaml", "learning_rate: 3e-5", "learning_rate: 2e-5")
    succeeded(clone.snakemake())
    assert clone.executed() == ["report-other"]
    clone.nothing_to_do()


def test_accept_takes_changes_of_code_and_nothing_else(clone: Clone) -> None:
    def refused(stage: str, *reasons: str) -> None:
        before = clone.plan()
        done = clone.pipeline("accept", stage)
        assert done.returncode == 1
        assert f"{stage} cannot be accepted: " in done.stderr
        assert all(reason in done.stderr for reason in reasons), done.stderr
        assert clone.plan() == before

    code, lock = "scripts/heirloom/inference_part.py", (clone.folder / "dvc.lock").read_text()
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 9e-5")
    refused("train-sft", "training.learning_rate 1e-05 → 9e-05", "only a change of code can be harmless")
    refused("generate-sft", "it reads what train-sft will make anew")
    clone.edit("config/runs/sft.yaml", "learning_rate: 9e-5", "learning_rate: 1e-5")
    clone.write(code, "answer = 1\n")
    file = clone.folder / "generations/sft/content.txt"
    file.write_text(file.read_text() + "by hand\n")
    refused("generate-sft", "generations/sft was edited since it was made")
    assert (clone.folder / "dvc.lock").read_text() == lock
    assert clone.executed() == []


def test_a_restore_that_turns_out_impossible_makes_the_readers_follow(clone: Clone) -> None:
    lose(clone, "generations/sft")
    succeeded(clone.snakemake(SALT="first", PYTHONSAFEPATH="1"))  # which some sites set for all
    assert clone.executed() == ["generate-sft", "report-sft"]
    clone.nothing_to_do()


def lose(clone: Clone, artifact: str) -> None:
    """Delete a folder that is an artifact wherever it is."""
    value = re.search(rf"path: {artifact}\n.*\n +md5: (\S+)", (clone.folder / "dvc.lock").read_text())[1]
    (clone.folder / ".dvc/cache/files/md5" / value[:2] / value[2:]).unlink()
    shutil.rmtree(clone.folder / artifact)
    clone.write(".dvc/config.local", "[core]\n    remote = none\n['remote \"none\"']\n    url = ../nothing\n")
