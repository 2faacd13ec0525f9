"""`scripts/reproduce.py`: a stage made again in a clean clone, with what a commit records held against it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from clone import Clone, succeeded


def reproduce(clone: Clone, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run the program with a folder for temporary files of its own, and assert that it leaves nothing there."""
    temporary = clone.folder.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    before = set(temporary.iterdir())
    done = clone.run(sys.executable, "scripts/reproduce.py", *words, TMPDIR=str(temporary), **variables)
    assert "Traceback" not in done.stderr, done.stderr
    assert "--keep" in words or set(temporary.iterdir()) == before
    return done


def everything(folder: Path) -> dict[str, bytes]:
    """Return file → content of a clone, with its git folder, cache and data; without shortcuts and locks."""
    passing = (".heirloom", "__pycache__", "tmp", ".snakemake")
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "index" and not set(file.relative_to(folder).parts) & set(passing)
    }


def test_a_stage_is_made_again_and_this_clone_stays_as_it_is(clone: Clone, tmp_path: Path) -> None:
    shutil.rmtree(clone.folder / "checkpoints")
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    settings = clone.folder / ".dvc/config.local"
    remote = settings.read_text()
    settings.write_text(remote.replace("/storage", "/nothing"))  # the cache suffices
    before = everything(clone.folder)
    done = succeeded(reproduce(clone, "train-sft"))
    assert clone.executed() == ["train-sft"]
    assert "uncommitted changes take no part: config/runs/sft.yaml" in done.stdout
    same = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("same ")]
    assert same == ["checkpoints/sft", "metrics/loss/sft.csv", "metrics/training/sft.json"]
    assert everything(clone.folder) == before

    shutil.rmtree(clone.folder / ".dvc/cache")
    done = reproduce(clone, "train-sft")
    assert done.returncode == 1
    assert done.stderr.startswith("error: checkpoints/pre, data/processed/chats: read by train-sft, and neither in git")

    settings.write_text(remote)  # the remote suffices
    succeeded(reproduce(clone, "train-sft"))
    assert clone.executed() == ["train-sft"]
    assert not (clone.folder / ".dvc/cache").exists()


def test_git_may_be_told_which_repository_it_is_in(clone: Clone) -> None:
    """As git tells its hooks: the clone is another repository, with an index of its own."""
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    clone.git("add", "-A")
    index = clone.folder / ".git/index"
    before = index.read_bytes()
    here = {"GIT_DIR": str(clone.folder / ".git"), "GIT_WORK_TREE": str(clone.folder), "GIT_INDEX_FILE": str(index)}
    succeeded(reproduce(clone, "train-sft", **here))
    assert clone.executed() == ["train-sft"]
    assert index.read_bytes() == before


def test_any_revision_counts_as_it_was_recorded(clone: Clone) -> None:
    clone.git("tag", "slow")
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.dvc("repro", "--single-item", "train-pre"))
    clone.commit("faster")
    checkpoints = set()
    for revision in ("slow", "HEAD"):
        done = succeeded(reproduce(clone, revision, "train-pre", "--keep"))
        checkpoints.add(next(line for line in done.stdout.splitlines() if line.startswith("same     checkpoints/pre")))
        kept = Path(done.stdout.splitlines()[-1].removeprefix("kept: "))
        assert "tracking" not in (kept / "config/runs/pre.yaml").read_text()  # nothing goes to a tracker again
    assert len(checkpoints) == 2

    commit = clone.git("rev-parse", "--short=12", "slow").strip()
    done = reproduce(clone, "HEAD", "generate-pre")
    assert done.returncode == 1
    assert "generate-pre was stale: its result was made with other checkpoints/pre;" in done.stderr
    assert f"{commit} recorded that result" in done.stderr


def test_what_differs_is_named_with_why(clone: Clone) -> None:
    clone.edit("scripts/inference.py", "digest[::-1]", "os.urandom(8).hex()")
    succeeded(clone.dvc("repro", "generate-sft"))
    clone.commit("answers by chance")
    done = reproduce(clone, "generate-sft")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) >= 3, done.stdout + done.stderr
    assert lines[-3].startswith("differs  generations/sft  recorded ")
    assert lines[-2] == "         more.txt differs"
    assert lines[-1].startswith(
        "why it may: machine, instruction set, ranks and versions are those of the recorded execution"
    )

    record = clone.folder / ".heirloom/records/generate-sft.json"
    facts = json.loads(record.read_text())
    facts["ranks"] = {"nodes": 1, "per_node": 8, "device": "gpu"}
    facts["versions"]["torch"] = "1.13"
    record.write_text(json.dumps(facts))
    why = [line for line in reproduce(clone, "generate-sft").stdout.splitlines() if line.startswith("why it may: ")]
    assert why[:2] == [
        "why it may: ranks.per_node 8 → 2 (recorded → here)",
        "why it may: ranks.device gpu → cpu (recorded → here)",
    ]
    assert why[2].startswith("why it may: versions.torch 1.13 → ")
    assert why[3].startswith("why it may: a GPU took part")


def test_mistakes_are_told_in_a_sentence(clone: Clone) -> None:
    first = clone.git("rev-list", "--max-parents=0", "HEAD").strip()
    for words, variables, sentence in (
        (["no-such", "train-sft"], {}, "no-such: git knows no such commit here"),
        (["train-soft"], {}, "train-soft never ran at commit "),
        ([first, "train-sft"], {}, f"commit {first[:12]} has no dvc.lock"),
        (["train-sft"], {"FAIL": "train-sft"}, "train-sft failed in the clone of "),
    ):
        done = reproduce(clone, *words, **variables)
        assert done.returncode == 1
        assert f"error: {sentence}" in done.stderr.splitlines()[-1]


def test_a_signal_ends_it_and_leaves_nothing(clone: Clone, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = clone.start(sys.executable, "scripts/reproduce.py", "train-sft", SLOW="train-sft", TMPDIR=str(temporary))
    deadline = time.monotonic() + 120
    while not Path(f"{clone.trace}.slow").exists():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Traceback" not in printed
    assert list(temporary.iterdir()) == []
