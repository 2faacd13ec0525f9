"""Where and how it is started, what lies in an artifact's place, what a full or damaged disk leaves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clone import Clone, succeeded


def test_any_folder_and_any_name_of_it(made: Clone, tmp_path: Path) -> None:
    clone = made.copy_to(tmp_path / "it's my place" / "clone")
    succeeded(clone.run("workflow/clone_settings.sh", sys.executable))
    run = (clone.folder / "config/runs/other.yaml").read_text()
    for branch in ("one", "two"):
        clone.git("checkout", "-q", "-b", branch, "main")
        clone.write(f"config/runs/{branch}.yaml", run)
        succeeded(clone.pipeline("write"))
        clone.commit(branch)
    clone.git("merge", "-q", "-m", "both", "one")  # by the driver: both changed check-config's neighbours
    succeeded(clone.pipeline("check"))
    clone.git("checkout", "-q", "main")
    clone.edit("config/runs/other.yaml", "1e-5", "2e-5")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = from_folder(clone, "scripts", "../workflow/pipeline", "plan", **plain)
    assert "training.learning_rate 1e-05 ? 2e-05" in succeeded(done).stdout
    elsewhere = clone.snakemake("-n", "--quiet", "all", "--directory", str(tmp_path))
    assert f"this workflow works in {clone.folder}, and here is {tmp_path}" in elsewhere.stderr
    yaml = (clone.folder / "dvc.yaml").read_text()
    (clone.folder / "config").rename(clone.folder / "elsewhere")
    done = from_folder(clone, "scripts", "../workflow/pipeline", "write")
    assert done.returncode == 1
    assert f"config: there is no such folder in {clone.folder}" in done.stderr
    assert (clone.folder / "dvc.yaml").read_text() == yaml


def from_folder(clone: Clone, folder: str, *words: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words], cwd=clone.folder / folder, env=clone.environment(variables), capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_a_folder_of_a_larger_repository(made: Clone, tmp_path: Path) -> None:
    made.copy_to(tmp_path / "top/inner")
    shutil.rmtree(tmp_path / "top/inner/.git")
    clone = Clone(tmp_path / "top/inner", made.home)
    for words in (["init", "-q", "-b", "main"], ["config", "user.name", "a"], ["config", "user.email", "a@b"]):
        subprocess.run(["git", *words], cwd=tmp_path / "top", check=True)
    clone.commit("a folder of it")
    done = clone.run(sys.executable, "scripts/reproduce.py", "HEAD", "train-other")
    assert "same     checkpoints/other" in succeeded(done).stdout


def test_what_lies_in_an_artifacts_place_is_replaced_by_the_artifact(clone: Clone) -> None:
    folder = clone.folder / "checkpoints/other"
    before = (folder / "content.txt").read_text()
    marker = ".heirloom/markers/checkpoints/other"
    for harm in (
        lambda: (folder / "x").symlink_to("nowhere"),
        lambda: (shutil.rmtree(folder), folder.write_text("a file")),
        lambda: (folder.unlink() if folder.is_file() else shutil.rmtree(folder), folder.symlink_to("other")),
    ):
        harm()
        assert clone.plan()["train-other"] == "restore: checkpoints/other was edited"
        succeeded(clone.pipeline("run", "train-other", "--marker", marker))
        assert (folder / "content.txt").read_text() == before
    assert clone.executed() == []


def test_a_result_that_dvc_could_not_save_is_taken_up(clone: Clone) -> None:
    marker = ".heirloom/markers/checkpoints/other"
    clone.edit("config/runs/other.yaml", "1e-5", "2e-5")
    cache = clone.folder / ".dvc/cache/files"
    cache.rename(cache.with_name("kept"))
    cache.write_text("no folder, as good as a full disk")
    succeeded(clone.pipeline("write"))
    (clone.folder / ".dvc/tmp/rwlock").write_text('{"/x":')  # DVC was killed while it wrote
    done = clone.pipeline("run", "train-other", "--marker", marker)
    assert done.returncode == 1
    assert "rwlock was cut short when a process was killed or a disk full: put aside" in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: train-other: DVC failed beside the stage's program: "), done.stderr
    assert "Traceback" not in done.stderr
    cache.unlink()
    cache.with_name("kept").rename(cache)
    assert clone.executed() == ["train-other"]
    succeeded(clone.pipeline("run", "train-other", "--marker", marker))
    assert clone.executed() == []
    assert set(clone.plan()) == {"report-other"}


def test_what_a_killed_dvc_leaves_is_put_aside_by_the_plan_too(clone: Clone) -> None:
    """`dvc repro` killed while it wrote its lock: by seed 3 the kill campaign's seventh episode met it."""
    lock = clone.folder / ".dvc/tmp/rwlock"
    for mend in (clone.plan, lambda: succeeded(clone.pipeline("write"))):
        lock.write_text("")
        mend()
        assert not lock.exists()
    assert "up to date" in succeeded(clone.dvc("status")).stdout


@pytest.mark.parametrize("left", ["nothing", "its head", "all but an entry's end"])
def test_a_lock_that_dvc_was_killed_in_is_written_anew_by_make_dvc_yaml(clone: Clone, left: str) -> None:
    """With what markers have, and without them with what was committed."""
    lock = clone.folder / "dvc.lock"
    whole = lock.read_bytes()
    if left != "nothing":
        shutil.rmtree(clone.folder / ".heirloom/markers")
    cut = whole[: {"nothing": 0, "its head": 20}.get(left, whole.rindex(b"    outs:\n") + 28)]
    lock.write_bytes(cut)
    done = clone.pipeline("plan", "--stages")
    assert "`make dvc.yaml` writes it anew" in done.stdout
    assert clone.plan() == {}
    if left == "all but an entry's end":  # DVC takes it for a stage that never ran
        done = clone.dvc("repro")
        assert done.returncode != 0 and ": `make dvc.yaml` puts it aside and writes it anew" in done.stderr
    assert "put aside as dvc.lock.damaged" in succeeded(clone.pipeline("write")).stdout
    clone.nothing_to_do()
    assert clone.executed() == []
    assert lock.read_bytes() == whole and (clone.folder / "dvc.lock.damaged").read_bytes() == cut


def test_a_read_only_clone_can_be_looked_at(made: Clone, tmp_path: Path) -> None:
    """Root may write anywhere, so what stands in the way is a file where the state would be."""
    clone = made.copy_to(tmp_path / "clone")
    shutil.rmtree(clone.folder / ".heirloom")
    (clone.folder / ".heirloom").write_text("")
    assert "Nothing to be done" in clone.snakemake("-n").stdout
    done = clone.snakemake()
    assert done.returncode != 0
    assert ".heirloom/lock cannot be written" in done.stderr
    assert os.listdir(tmp_path) == ["clone"]
