"""The contract (a) to (k) of Snakemake and DVC: they never disagree about what is stale (docs/decisions.md)."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

from clone import STAGES, Clone, succeeded
from ruamel.yaml import YAML

AFTER_PRE = ["evaluate-pre", "generate-pre", "generate-sft", "report-pre", "report-sft", "train-pre", "train-sft"]
ADAPTER = "{r: 8, merge: false}"
ENGINES = {"snakemake": ["snakemake"], "dvc": ["dvc", "repro"]}


def test_a_after_snakemake_dvc_is_clean_and_push_uploads_all(made: Clone, tmp_path: Path) -> None:
    clone = made.copy_to(tmp_path / "clone")
    clone.nothing_to_do()
    assert "in sync" in clone.dvc("status", "--cloud").stdout
    shutil.rmtree(clone.folder / ".dvc/cache")
    succeeded(clone.dvc("fetch"))


def test_b_after_dvc_repro_snakemake_has_nothing_to_do(fresh: Clone, made: Clone, tmp_path: Path) -> None:
    clone = fresh.copy_to(tmp_path / "clone")
    succeeded(clone.dvc("repro"))
    assert set(clone.executed()) == STAGES
    clone.nothing_to_do()
    for stage in ("checkpoints/sft", "metrics/evaluation/pre.json", "data/processed/chats"):
        assert contents(clone.folder / stage) == contents(made.folder / stage)


def test_c_a_clone_that_pulled_has_nothing_to_do(made: Clone, tmp_path: Path) -> None:
    other = made.clone_to(tmp_path / "other")
    succeeded(other.dvc("pull"))
    other.nothing_to_do()
    assert other.executed() == []


def test_c_a_clone_that_pulled_nothing_restores_and_executes_nothing(made: Clone, tmp_path: Path) -> None:
    other = made.clone_to(tmp_path / "other")
    plan = other.plan()
    assert set(plan) == STAGES
    assert all(text.startswith("restore: ") for text in plan.values())
    succeeded(other.snakemake())
    assert other.executed() == []
    other.nothing_to_do()


def test_c_where_data_may_be_remote_a_clone_has_nothing_to_do(made: Clone, tmp_path: Path) -> None:
    other = made.clone_to(tmp_path / "other")
    assert other.plan("--data", "remote") == {}
    assert "Nothing to be done" in other.snakemake("--config", "data=remote").stderr
    assert not (other.folder / "checkpoints").exists()


def test_d_a_learning_rate_re_executes_the_training_and_what_follows(clone: Clone) -> None:
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    assert clone.plan() == {
        "train-pre": "run: training.learning_rate 1e-05 → 2e-05",
        "evaluate-pre": "then: after train-pre, generate-pre",
        "generate-pre": "then: after train-pre",
        "train-sft": "then: after train-pre",
        "generate-sft": "then: after train-sft",
        "report-pre": "run: training.learning_rate 1e-05 → 2e-05",
        "report-sft": "run: training.learning_rate 1e-05 → 2e-05",
    }
    assert clone.snakemake_jobs() == set(AFTER_PRE)
    succeeded(clone.snakemake())
    assert clone.executed() == AFTER_PRE
    clone.nothing_to_do()


def test_d_a_learning_rate_by_dvc(clone: Clone) -> None:
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.dvc("repro"))
    assert clone.executed() == AFTER_PRE
    clone.nothing_to_do()


def test_d_comments_white_space_touch_and_tracking_change_nothing(clone: Clone) -> None:
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate:   0.00001")
    clone.edit("config/runs/pre.yaml", "base: tiny", "# a comment\n\nbase: tiny   # and another")
    clone.edit("config/runs/pre.yaml", "logging_steps: 1", "logging_steps: 5")
    for file in clone.folder.rglob("*"):
        if file.is_file() and ".git" not in file.parts and ".dvc" not in file.parts:
            file.touch()
    assert (clone.plan(), clone.snakemake_jobs()) == ({}, set())
    status = clone.dvc("status").stdout  # that DVC looks at bytes of config/ is seen in one stage, which makes nothing
    assert re.findall(r"^\S+:", status, re.MULTILINE) == ["check-config:"]
    succeeded(clone.dvc("repro"))
    assert clone.executed() == []
    clone.nothing_to_do()


def test_d_a_section_that_appears_or_disappears_is_seen_by_both(clone: Clone) -> None:
    """An adapter is one that names its base, which every stage that reads it depends on then."""
    clone.edit("config/runs/pre.yaml", "evaluation: {metrics: [perplexity, exact_match]}", f"peft: {ADAPTER}")
    succeeded(clone.pipeline("write"))
    assert clone.plan()["train-pre"] == (
        "run: command: --sections training → training,peft; peft absent → {'r': 8, 'merge': False}"
    )
    succeeded(clone.dvc("repro"))
    assert clone.executed() == [stage for stage in AFTER_PRE if stage != "evaluate-pre"]
    clone.nothing_to_do()
    stages = YAML(typ="safe").load(clone.folder / "dvc.yaml")["stages"]
    readers = {name for name, stage in stages.items() if {"checkpoints/pre", "models/tiny"} <= {*stage.get("deps", [])}}
    assert readers == {"generate-pre", "train-sft"}
    clone.edit("config/models/tiny.yaml", "seed: 0", "seed: 1")
    assert {"generate-pre", "train-sft"} <= clone.snakemake_jobs()
    clone.edit("config/models/tiny.yaml", "seed: 1", "seed: 0")
    clone.edit("config/runs/pre.yaml", f"peft: {ADAPTER}\n", "")
    assert clone.plan()["train-pre"].startswith("run: ") or clone.plan()["train-pre"].startswith("restore: ")
    succeeded(clone.snakemake())
    clone.nothing_to_do()


def test_e_code_re_executes_the_stages_that_use_it(clone: Clone) -> None:
    clone.write("scripts/heirloom/inference_part.py", "answer = 1\n")
    assert clone.plan() == {
        "generate-pre": "run: scripts/heirloom/inference_part.py changed",
        "evaluate-pre": "then: after generate-pre",
        "generate-sft": "run: scripts/heirloom/inference_part.py changed",
        "report-pre": "then: after generate-pre, evaluate-pre",
        "report-sft": "then: after generate-pre, generate-sft",
    }
    succeeded(clone.snakemake())
    # the stand-in's generations do not depend on its code, so what reads them finds its inputs unchanged
    assert clone.executed() == ["generate-pre", "generate-sft"]
    clone.nothing_to_do()
    clone.write("scripts/heirloom/training_part.py", "answer = 1\n")
    succeeded(clone.dvc("repro"))
    assert clone.executed() == ["train-other", "train-pre", "train-sft"]
    clone.nothing_to_do()


def test_e_comments_docstrings_and_formatting_of_code_change_nothing(clone: Clone) -> None:
    part = "scripts/heirloom/inference_part.py"
    clone.write(part, '"""Better words."""\n\n\n# and a comment\n')
    assert (clone.plan(), clone.snakemake_jobs()) == ({}, set())
    status = clone.dvc("status").stdout  # DVC sees the module's bytes in one stage, which makes digests of it
    assert re.findall(r"^\S+:", status, re.MULTILINE) == ["digest-code:"]
    succeeded(clone.dvc("repro"))
    assert clone.executed() == []
    clone.nothing_to_do()
    clone.write(part, "answer = 1\n")
    succeeded(clone.dvc("repro"))
    assert clone.executed() == ["generate-pre", "generate-sft"]
    clone.nothing_to_do()


def test_e_unrelated_code_and_the_launcher_change_nothing(clone: Clone) -> None:
    clone.write("scripts/another.py", "answer = 1\n")
    clone.write("scripts/heirloom/another_part.py", "answer = 1\n")
    launcher = clone.folder / "scripts/launch.py"
    launcher.write_text(launcher.read_text() + "# a comment\n")
    clone.nothing_to_do()


def test_e_a_module_that_the_imports_do_not_show_fails_the_stage(clone: Clone) -> None:
    hidden = 'from heirloom import inference_part  # noqa: F401\n__import__("heirloom.data_part")'
    clone.edit("scripts/inference.py", "from heirloom import inference_part  # noqa: F401", hidden)
    done = clone.snakemake()
    assert done.returncode != 0
    assert "inference.py loaded scripts/heirloom/data_part.py, which its import statements do not show" in done.stderr
    assert set(clone.plan()) == {"generate-pre", "evaluate-pre", "generate-sft", "report-pre", "report-sft"}


def test_f_and_g_a_new_run_is_one_file_and_shares_what_is_there(clone: Clone) -> None:
    run = (clone.folder / "config/runs/sft.yaml").read_text()
    clone.write("config/runs/more.yaml", run.replace("base: pre", "base: sft"))
    assert clone.plan() == dict.fromkeys(("train-more", "generate-more", "report-more"), "run: never run")
    succeeded(clone.snakemake())
    assert clone.executed() == ["generate-more", "report-more", "train-more"]
    clone.nothing_to_do()
    succeeded(clone.pipeline("check"))


def test_h_a_stage_that_fails_leaves_nothing_that_looks_complete(clone: Clone) -> None:
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    done = clone.snakemake(FAIL="train-sft")
    assert done.returncode != 0
    assert done.stderr.endswith("logs/train-sft.log\nerror: this stage was told to fail\n"), done.stderr
    assert not (clone.folder / "checkpoints/sft").exists()
    assert set(clone.plan()) == {"train-sft", "generate-sft", "report-sft"}
    assert "this stage was told to fail" in (clone.folder / "logs/train-sft.log").read_text()
    clone.edit("config/runs/sft.yaml", "learning_rate: 2e-5", "learning_rate: 1e-5")
    clone.executed()
    succeeded(clone.snakemake())  # its earlier result is not lost
    assert clone.executed() == []
    clone.nothing_to_do()


def test_h_a_killed_stage_needs_no_hand_work(clone: Clone) -> None:
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    for engine in ENGINES.values():
        clone.kill_when_slow(clone.start(*engine, SLOW="train-sft"))
        assert not (clone.folder / "checkpoints/sft").exists()
        assert set(clone.plan()) == {"train-sft", "generate-sft", "report-sft"}
    clone.executed()
    succeeded(clone.snakemake())
    assert clone.executed() == ["generate-sft", "report-sft", "train-sft"]
    clone.nothing_to_do()


def test_h_a_half_written_lock_is_rebuilt_from_the_markers(clone: Clone) -> None:
    lock = clone.folder / "dvc.lock"
    whole = lock.read_text()
    lock.write_text(whole[: len(whole) // 2])
    assert clone.plan() == {}
    succeeded(clone.snakemake())
    assert clone.executed() == []
    assert YAML(typ="safe").load(lock) == YAML(typ="safe").load(whole)
    clone.nothing_to_do()


def test_h_results_that_came_back_as_markers_survive_a_killed_controller(clone: Clone) -> None:
    """A remote job returns only its marker; the controller dies before it has merged it into dvc.lock."""
    lock = clone.folder / "dvc.lock"
    before = lock.read_text()
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.snakemake())
    clone.executed()
    lock.write_text(before)
    (clone.folder / ".dvc/history.jsonl").unlink()
    shutil.rmtree(clone.folder / ".heirloom/records")
    assert clone.plan() == {}
    succeeded(clone.snakemake())
    assert clone.executed() == []
    clone.nothing_to_do()


def test_i_two_at_once(clone: Clone) -> None:
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    first = clone.start("snakemake", SLOW="train-sft")
    deadline = time.monotonic() + 120
    while not Path(f"{clone.trace}.slow").exists():
        assert time.monotonic() < deadline and first.poll() is None, first.communicate()[0]
        time.sleep(0.1)
    second = clone.snakemake()
    assert second.returncode != 0
    assert "another `snakemake` is working in this folder" in second.stdout + second.stderr
    assert set(clone.snakemake_jobs()) == {"train-sft", "generate-sft", "report-sft"}
    by_dvc = clone.dvc("repro", "train-sft")
    assert by_dvc.returncode != 0
    assert "busy" in by_dvc.stderr
    os.killpg(first.pid, signal.SIGINT)  # as Ctrl-C does
    first.communicate(timeout=60)
    clone.executed()
    succeeded(clone.snakemake())
    assert clone.executed() == ["generate-sft", "report-sft", "train-sft"]
    clone.nothing_to_do()


def test_j_two_branches_that_each_add_a_run_merge_by_themselves(clone: Clone) -> None:
    run = (clone.folder / "config/runs/other.yaml").read_text()
    for branch, rate in (("one", "3e-5"), ("two", "4e-5")):
        clone.git("checkout", "-q", "-b", branch, "main")
        clone.write(f"config/runs/{branch}.yaml", run.replace("1e-5", rate))
        succeeded(clone.snakemake())
        clone.commit(branch)
    clone.git("merge", "-q", "-m", "both", "one")
    succeeded(clone.pipeline("check"))
    assert all(text.startswith("restore: ") for text in clone.plan().values())
    clone.executed()
    succeeded(clone.snakemake())
    assert clone.executed() == []
    clone.nothing_to_do()


def test_k_returning_to_an_earlier_config_restores_its_result(clone: Clone) -> None:
    earlier = contents(clone.folder / "checkpoints/pre")
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.snakemake())
    assert clone.executed() == AFTER_PRE
    clone.edit("config/runs/pre.yaml", "learning_rate: 2e-5", "learning_rate: 1e-5")
    assert {text.split(":")[0] for text in clone.plan().values()} == {"restore"}
    succeeded(clone.snakemake())
    assert clone.executed() == []
    assert contents(clone.folder / "checkpoints/pre") == earlier
    clone.nothing_to_do()
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.dvc("repro"))
    assert clone.executed() == []
    clone.nothing_to_do()


def test_k_on_another_clone_of_the_same_remote(clone: Clone, tmp_path: Path) -> None:
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.snakemake())
    succeeded(clone.dvc("push"))
    clone.commit("faster")
    for engine in ENGINES:
        other = clone.clone_to(tmp_path / engine)
        succeeded(other.dvc("pull"))
        other.edit("config/runs/pre.yaml", "learning_rate: 2e-5", "learning_rate: 1e-5")
        succeeded(other.run(*ENGINES[engine]))
        assert other.executed() == []
        other.nothing_to_do()


def test_k_without_local_data_an_earlier_result_is_found_without_a_job(clone: Clone, tmp_path: Path) -> None:
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    succeeded(clone.snakemake())
    succeeded(clone.dvc("push"))
    clone.commit("faster")
    other = clone.clone_to(tmp_path / "other")
    other.edit("config/runs/pre.yaml", "learning_rate: 2e-5", "learning_rate: 1e-5")
    assert "Nothing to be done" in other.snakemake("--config", "data=remote").stderr
    assert " M dvc.lock" in other.git("status", "--short")


def contents(path: Path) -> dict[str, bytes]:
    """Return file → bytes of an artifact."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
