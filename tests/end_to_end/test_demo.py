"""The main job, as a newcomer runs it: `make demo` in a fresh clone. Then the contract once more, on real stages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from demo_clone import ARTIFACTS, REPOSITORY, Demo, hashes
from warm_start import OF_RANKS

from heirloom.demo.lessons import lessons


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def demo(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A clone in which `make demo` has run once, its Python with libraries loaded.

    Each program of a stage begins cold on SageMaker's hosts and in the image (tests/sagemaker, tests/image).
    """
    demo = Demo.create(tmp_path_factory.mktemp("demo") / "heirloom", home)
    demo.printed = demo.warm(*OF_RANKS).make("demo")
    return demo


def test_each_stage_taught_the_model_something(demo: Demo) -> None:
    found = lessons(demo.folder / "metrics")
    assert len(found) >= 7
    assert [lesson for lesson in found if not lesson.holds] == []


def test_make_demo_ends_with_the_scores_and_where_to_look(demo: Demo) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    shown = readme[readme.index("```text\n") + 8 :]
    shown = shown[: shown.index("```")]
    for line in shown.splitlines():  # the numbers are this processor's own
        if line.strip() and not line.startswith(("A held-out", "  demo-")):
            assert without_numbers(line) in without_numbers(demo.printed), line
    end = demo.printed[demo.printed.index("Where to look next") :]
    for name in ("demo-pretrain", "demo-sft", "demo-dpo", "demo-grpo"):
        assert name in demo.printed
    for line in end.splitlines()[1:]:
        place = line.split()[0]
        if "/" in place and not any(word in place for word in ("RUN", "DATASET", "STAGE")):
            assert (demo.folder / place).exists(), place


def test_the_contract_a_to_d_holds_on_the_real_demo(demo: Demo, home: Path, tmp_path: Path) -> None:
    demo.nothing_to_do()  # (a) and (b), as they are typed
    again = demo.make("demo")
    assert "Nothing to be done" in again
    assert "0 to run, 0 after them, 0 to restore" in again
    demo.run("dvc", "push")
    demo.commit("made")
    assert "in sync" in demo.run("dvc", "status", "--cloud")

    clone = Demo(tmp_path / "clone", home).warm(*OF_RANKS)  # (c)
    subprocess.run(["git", "clone", "-q", str(demo.folder), str(clone.folder)], check=True)
    clone.make("clone-settings")
    clone.run("dvc", "pull")
    clone.nothing_to_do()

    run = clone.folder / "config/demo/runs/demo-dpo.yaml"  # (d)
    text = run.read_text()
    run.write_text("# a comment\n\n" + text.replace("save_steps: 40", "save_steps:   20"))
    in_step(clone)
    run.write_text(text.replace("learning_rate: 1.0e-4", "learning_rate: 2.0e-4"))
    assert clone.plan() == ["train-demo-dpo", "generate-demo-dpo", "evaluate-demo-dpo", "report-demo-dpo"]
    assert clone.run("dvc", "status", "--json").count("train-demo-dpo") == 1
    run.write_text(text)
    in_step(clone)


def in_step(clone: Demo) -> None:
    """Assert that an edit of config/ re-executes nothing: DVC sees its bytes in one stage, which makes nothing."""
    assert clone.plan() == []
    assert re.findall(r"^\S+:", clone.run("dvc", "status"), re.MULTILINE) == ["check-config:"]
    assert "Nothing to be done" in clone.run("snakemake")
    clone.nothing_to_do()


METHODS = {
    "polite-orpo": """\
base: demo-sft
dataset: demo-preferences
trainer: orpo
deepspeed: zero3
training: {max_steps: 3, global_batch_size: 16, per_device_train_batch_size: 8, learning_rate: 1.0e-4, bf16: true}
peft: {r: 4, target_modules: "q_proj,v_proj"}
quantization: {load_in_8bit: true}    # not 4 bits: not every processor reads the demo's narrow layers so
""",
    "answers-seq2seq": """\
base: polite-orpo
dataset: demo-chat
trainer: seq2seq
training: {max_steps: 3, global_batch_size: 16, per_device_train_batch_size: 8, predict_with_generate: true}
generation: {max_new_tokens: 16, num_beams: 2, limit: 11}
""",
    "packed-sft": """\
base: answers-seq2seq
dataset: demo-chat
trainer: sft
deepspeed: zero2
training: {max_steps: 3, global_batch_size: 8, per_device_train_batch_size: 4, packing: true, seq_length: 192}
""",
}
"""Runs of the methods that the demo does not have, each from the checkpoint of the one before."""


def test_the_other_methods_run_from_the_config_too(demo: Demo, home: Path, tmp_path: Path) -> None:
    clone = Demo(tmp_path / "clone", home).warm(*OF_RANKS)
    subprocess.run(["cp", "-a", str(demo.folder), str(clone.folder)], check=True)
    for name, text in METHODS.items():
        (clone.folder / f"config/runs/{name}.yaml").write_text(text)
    trained = [f"train-{name}" for name in METHODS]
    seq2seq = ["train-answers-seq2seq", "generate-answers-seq2seq"]
    others = [f"report-{name}" for name in ("packed-sft", "polite-orpo")]
    packed = ["pack-demo-chat-bfd-192", "report-answers-seq2seq", "train-packed-sft"]
    assert clone.plan() == [*trained[:1], *seq2seq, *packed, *others]
    clone.run("snakemake", "--quiet", "rules")
    clone.nothing_to_do()
    for name, text in METHODS.items():
        weights = "adapter_model" if "peft:" in text else "model"
        assert (clone.folder / f"checkpoints/{name}/{weights}.safetensors").is_file()
    scores = json.loads((clone.folder / "metrics/training/answers-seq2seq.json").read_text())
    assert {"loss", "exact_match", "gen_len"} <= scores["after"].keys()
    assert not (clone.folder / "checkpoints/polite-orpo/model.safetensors").exists()


def test_verify_finds_every_artifact_as_recorded(demo: Demo) -> None:
    assert ": 0 wrong" in demo.run(sys.executable, "workflow/pipeline", "verify")


def test_what_dvc_alone_has_made_is_up_to_date_for_both(at_home: Demo) -> None:
    """That Snakemake makes the same bytes is shown where its jobs are (tests/sagemaker, tests/slurm)."""
    for kind in ARTIFACTS:
        assert hashes(at_home.folder / kind)
    at_home.warm(*OF_RANKS).nothing_to_do()


def test_artifacts_hold_no_place_and_no_host(demo: Demo) -> None:
    host = os.uname().nodename.encode()
    for kind in ARTIFACTS:
        for file in (path for path in (demo.folder / kind).rglob("*") if path.is_file()):
            data = file.read_bytes()
            assert str(demo.folder).encode() not in data, file
            assert len(host) < 4 or host not in data, file


def without_numbers(text: str) -> str:
    """Return a text with each number replaced by #, and widths, which follow from the numbers, made equal."""
    return re.sub(r"([ ─])\1+", r"\1", re.sub(r"\d+(\.\d+)?", "#", text))
