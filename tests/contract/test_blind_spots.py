"""What lies outside dvc.lock: artifacts edited in place, data gone missing, a cache that lost or gained objects."""

import hashlib
import re
import shutil
from operator import itemgetter

from clone import Clone, succeeded
from ruamel.yaml import YAML


def test_an_artifact_edited_in_place_is_restored(clone: Clone) -> None:
    file = clone.folder / "checkpoints/pre/content.txt"
    before = file.read_text()
    file.write_text("z" + before[1:])  # the same size
    assert clone.plan() == {"train-pre": "restore: checkpoints/pre was edited"}
    assert "train-pre" in clone.dvc("status").stdout
    succeeded(clone.snakemake())
    assert (file.read_text(), clone.executed()) == (before, [])
    clone.nothing_to_do()


def test_local_raw_data_that_changed_is_processed_again(clone: Clone) -> None:
    clone.write("config/chats.jsonl", '{"messages": [1]}\n')
    plan = clone.plan()
    assert plan["process-chats"] == "run: config/chats.jsonl changed"
    scored = {"generate-pre", "evaluate-pre", "train-sft", "generate-sft"}
    assert set(plan) == {"process-chats", *scored, "report-pre", "report-sft"}
    assert "process-chats" in clone.dvc("status").stdout
    succeeded(clone.snakemake())
    clone.nothing_to_do()


def test_local_raw_data_that_is_missing_is_named_at_once(clone: Clone) -> None:
    (clone.folder / "config/chats.jsonl").unlink()
    done = clone.snakemake()
    assert done.returncode != 0
    assert "config/datasets/chats.yaml:2: source.path: " in done.stderr
    assert "config/chats.jsonl" in done.stderr


def test_objects_gone_from_the_cache_come_back_from_the_working_tree(clone: Clone) -> None:
    shutil.rmtree(clone.folder / ".dvc/cache/files")
    assert {text.split(" ")[0] for text in clone.plan().values()} == {"restore:"}
    succeeded(clone.snakemake())
    assert clone.executed() == []
    clone.nothing_to_do()


def test_data_that_is_nowhere_is_made_again(clone: Clone) -> None:
    shutil.rmtree(clone.folder / "generations/sft")
    shutil.rmtree(clone.folder / ".dvc/cache/files")
    clone.write(".dvc/config.local", "[core]\n    remote = none\n['remote \"none\"']\n    url = ../nothing\n")
    assert clone.plan()["generate-sft"] == "restore: generations/sft is not here"
    succeeded(clone.snakemake())
    assert clone.executed() == ["generate-sft"]
    clone.nothing_to_do()


def test_a_damaged_object_of_the_cache_is_fetched_again_and_never_put_in_place(clone: Clone) -> None:
    """DVC believes what nobody may write to, whatever a disk has made of it."""
    file = clone.folder / "checkpoints/pre/content.txt"
    whole = file.read_bytes()
    value = hashlib.md5(whole).hexdigest()
    cached = clone.folder / ".dvc/cache/files/md5" / value[:2] / value[2:]
    shutil.rmtree(clone.folder / "checkpoints/pre")
    cached.chmod(0o644)
    cached.write_bytes(b"damaged")
    cached.chmod(0o444)
    succeeded(clone.snakemake())
    assert file.read_bytes() == whole == cached.read_bytes() and clone.executed() == []
    clone.nothing_to_do()


def test_verify_hashes_everything(clone: Clone) -> None:
    done = succeeded(clone.pipeline("verify"))
    assert "22 artifacts of 14 stages hashed: 0 wrong" in done.stdout
    value = hashlib.md5((clone.folder / "checkpoints/pre/content.txt").read_bytes()).hexdigest()
    cached = clone.folder / ".dvc/cache/files/md5" / value[:2] / value[2:]
    cached.chmod(0o644)
    cached.write_bytes(b"damaged")
    (clone.folder / "checkpoints/pre/more.txt").write_text("edited")
    done = clone.pipeline("verify")
    assert done.returncode == 1
    assert "train-pre: checkpoints/pre was edited" in done.stdout
    assert re.search(rf"object {cached.parent.name}{cached.name} in the cache is damaged", done.stdout)


def test_accept_records_a_harmless_code_change_without_executing(clone: Clone) -> None:
    clone.write("scripts/heirloom/inference_part.py", "answer = 1\n")
    done = succeeded(clone.pipeline("accept", "generate-pre", "generate-sft"))
    assert "generate-pre accepted in spite of: scripts/heirloom/inference_part.py changed" in done.stdout
    assert clone.executed() == []
    clone.nothing_to_do()
    done = clone.pipeline("accept", "generate-nothing")
    assert done.returncode == 1
    assert "no stage is called generate-nothing" in done.stderr
    clone.commit("accepted")
    other = clone.clone_to(clone.folder.parent / "other")
    other.write("scripts/heirloom/inference_part.py", "answer = 2\n")
    done = succeeded(other.pipeline("accept", "gener*", "--reason", "nobody asks"))  # no data is here
    assert "generate-sft accepted in spite of: " in done.stdout
    assert other.plan("--data", "remote") == {}
    assert '"reason": "nobody asks"' in (other.folder / ".dvc/history.jsonl").read_text()
    other.git("checkout", "-q", "dvc.lock")  # as after a merge that took the other side: the history knows it
    assert other.plan("--data", "remote") == {}


def test_a_lock_of_an_earlier_version_is_carried_over(clone: Clone) -> None:
    """When each entry named the modules of its code, by the hashes of their bytes."""
    lock = clone.folder / "dvc.lock"
    recorded = YAML().load(lock)
    del recorded["stages"]["digest-code"]
    for entry in recorded["stages"].values():
        for dep in [dep for dep in entry["deps"] if dep["path"].startswith("workflow/code/")]:
            entry["deps"].remove(dep)
            for row in (clone.folder / dep["path"]).read_text().splitlines():
                content = (clone.folder / row.split()[1]).read_bytes()
                module = {"hash": "md5", "md5": hashlib.md5(content).hexdigest(), "size": len(content)}
                entry["deps"].append({"path": row.split()[1], **module})
            entry["deps"].sort(key=itemgetter("path"))
    with lock.open("w") as file:
        YAML().dump(recorded, file)
    part = clone.folder / "scripts/heirloom/data_part.py"
    part.write_text(part.read_text() + "# what it was then is in git\n")
    done = clone.dvc("repro")
    assert done.returncode != 0
    assert "dvc.lock has entries of an earlier version: `make dvc.yaml` carries them over" in done.stderr
    assert clone.plan() == {}
    assert "14 entries of an earlier version" in succeeded(clone.pipeline("write")).stdout
    succeeded(clone.dvc("repro"))
    assert clone.executed() == []
    clone.nothing_to_do()


def test_clean_cache_deletes_what_no_branch_needs(clone: Clone) -> None:
    clone.git("checkout", "-q", "-b", "experiment")
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.snakemake())
    clone.commit("experiment")
    clone.edit("config/runs/sft.yaml", "learning_rate: 2e-5", "learning_rate: 3e-5")
    succeeded(clone.snakemake())
    clone.git("checkout", "-q", "-f", "main")
    succeeded(clone.snakemake())
    done = succeeded(clone.pipeline("clean"))  # without a terminal nothing is deleted
    # of the uncommitted third rate: three folders with two files each, the weights in one, and the training's metrics
    assert "11 objects" in done.stdout
    assert "moved" not in done.stdout
    assert "moved to" in succeeded(clone.pipeline("clean", "--yes")).stdout
    assert "0 objects" in succeeded(clone.pipeline("clean", "--yes")).stdout
    clone.git("checkout", "-q", "experiment")
    clone.executed()
    succeeded(clone.snakemake())
    assert clone.executed() == []
