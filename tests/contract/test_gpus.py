"""Stages share this machine's GPUs: as many side by side as fit, each with its own. The GPUs are stand-ins."""

import os
from pathlib import Path

import pytest
from clone import Clone, succeeded

TRAINING = "{learning_rate: 1e-5, per_device_train_batch_size: 1, global_batch_size: 2, max_steps: 1}"
PROGRAM = """
import argparse, json, os, time
from pathlib import Path

parser = argparse.ArgumentParser()
for flag in ("config", "sections", "dataset", "base", "output", "metrics", "loss"):
    parser.add_argument(f"--{flag}", type=Path)
options = parser.parse_args()
seen = Path(os.environ["TRACE"] + ".gpus")
seen.mkdir(exist_ok=True)
(seen / options.output.name).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
end = time.monotonic() + 100
while len(list(seen.iterdir())) < 3 and time.monotonic() < end:  # until all three trainings are at work
    time.sleep(0.05)
assert len(list(seen.iterdir())) == 3, "the others have not begun"
options.output.mkdir(parents=True)
(options.output / "content.txt").write_text(options.output.name)
options.metrics.parent.mkdir(parents=True, exist_ok=True)
options.loss.parent.mkdir(parents=True, exist_ok=True)
options.metrics.write_text("{}")
options.loss.write_text("step,loss\\n1,2.0\\n")
"""


@pytest.fixture
def four(clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """A clone on a machine with four GPUs, and three runs that ask for one, one and two of them."""
    smi = tmp_path / "bin/nvidia-smi"
    smi.parent.mkdir()
    smi.write_text('#!/bin/sh\nfor n in 0 1 2 3; do echo "GPU $n: stand-in (UUID: GPU-$n)"; done\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{smi.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SM_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    clone.write("scripts/train.py", PROGRAM)
    for name, gpus in (("a", 1), ("b", 1), ("c", 2)):
        text = f"base: tiny\ndataset: text\ntrainer: trainer\ntraining: {TRAINING}\n"
        clone.write(f"config/runs/{name}.yaml", f"{text}resources: {{gpus_per_node: {gpus}}}\n")
    return clone


def test_as_many_stages_run_side_by_side_as_there_are_gpus(four: Clone):
    succeeded(four.snakemake("--config", "runs=a,b,c", "--until", "train", "--cores", "8"))
    seen = {file.name: file.read_text() for file in Path(f"{four.trace}.gpus").iterdir()}
    assert seen.keys() == {"a", "b", "c"}
    assert sorted([seen["a"], seen["b"], *seen["c"].split(",")]) == ["0", "1", "2", "3"]


def test_more_than_there_are_is_told_with_the_plan(four: Clone):
    four.edit("config/runs/c.yaml", "gpus_per_node: 2", "gpus_per_node: 5")
    four.edit("config/runs/c.yaml", "global_batch_size: 2", "global_batch_size: 10")
    done = four.snakemake("-n")
    assert done.returncode == 1
    assert "train-c: resources.gpus_per_node: 5 is more than this machine gives: it has 4 GPUs" in done.stderr
