"""Stages share this machine's GPUs, and its memory: as many side by side as fit. The GPUs are stand-ins."""

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
began = time.monotonic()
(seen / options.output.name).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
wanted = {wanted}
while not all((seen / name).exists() for name in wanted) and time.monotonic() < began + 100:  # all at work at once
    time.sleep(0.05)
assert all((seen / name).exists() for name in wanted), "the others have not begun"
(seen / f"{options.output.name}.times").write_text(f"{began} {time.monotonic()}")
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
    clone.write("scripts/train.py", PROGRAM.replace("{wanted}", '"abc"'))
    for name, gpus in (("a", 1), ("b", 1), ("c", 2)):
        text = f"base: tiny\ndataset: text\ntrainer: trainer\ntraining: {TRAINING}\n"
        clone.write(f"config/runs/{name}.yaml", f"{text}resources: {{gpus_per_node: {gpus}}}\n")
    return clone


def test_as_many_stages_run_side_by_side_as_there_are_gpus(four: Clone):
    succeeded(four.snakemake("--config", "runs=a,b,c", "--until", "train", "--cores", "8"))
    seen = {name: Path(f"{four.trace}.gpus", name).read_text() for name in "abc"}
    assert sorted([seen["a"], seen["b"], *seen["c"].split(",")]) == ["0", "1", "2", "3"]


def test_what_takes_all_memory_runs_alone_and_what_fits_runs_beside_others(four: Clone):
    """The first is as of a cluster's node, and more than this machine has. What others say of memory is no identity."""
    four.write("scripts/train.py", PROGRAM.replace("{wanted}", "'ab' if options.output.name in 'ab' else ''"))
    for name, memory in (("a", 1), ("b", 1), ("c", 10**9)):
        gpus = 2 if name == "c" else 1
        four.edit(f"config/runs/{name}.yaml", f"gpus_per_node: {gpus}", f"gpus_per_node: {gpus}, mem_mb: {memory}")
    succeeded(four.snakemake("--config", "runs=a,b,c", "--until", "train", "--cores", "8"))
    times = {name: Path(f"{four.trace}.gpus", f"{name}.times").read_text().split() for name in "abc"}
    (a, b, c) = (tuple(map(float, times[name])) for name in "abc")
    assert max(a[0], b[0]) < min(a[1], b[1])
    assert c[1] < min(a[0], b[0]) or c[0] > max(a[1], b[1])
    for name in "abc":
        four.edit(f"config/runs/{name}.yaml", "mem_mb: 1", "mem_mb: 2")
    assert not {f"train-{name}" for name in "abc"} & set(four.plan())


def test_more_than_there_are_is_told_with_the_plan(four: Clone):
    four.edit("config/runs/c.yaml", "gpus_per_node: 2", "gpus_per_node: 5")
    four.edit("config/runs/c.yaml", "global_batch_size: 2", "global_batch_size: 10")
    done = four.snakemake("-n")
    assert done.returncode == 1
    assert "train-c: resources.gpus_per_node: 5 is more than this machine gives: it has 4 GPUs" in done.stderr
