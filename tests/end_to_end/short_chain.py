"""The demo's chain with few steps and prompts: made at home once for all tests, to hold against what is made elsewhere.

At home by `dvc repro` alone, in processes that begin warm; elsewhere by Snakemake, as jobs of Slurm and as jobs of
SageMaker: the same bytes.
"""

import sys
from pathlib import Path

import pytest
from demo_clone import Demo
from made_once import made_once
from ruamel.yaml import YAML
from warm_start import OF_EACH_RANK

from pipeline.ledger.lockfile import read_lock, write_entries

RUNS = {
    "demo-pretrain": {
        "training": {"max_steps": 40},
        "tracking": {"save_steps": 5},
        "resources": {"slurm_partition": "other", "slurm_account": "lab", "mem_mb": 3000, "runtime": 15},
    },
    "demo-sft": {
        "training": {"max_steps": 30, "packing": True},
        "peft": {"r": 8, "target_modules": "q_proj,v_proj"},
        "generation": {"engine": "accelerate"},
        "tracking": {"save_steps": 5},
        "resources": {
            "nodes": 2,
            "cpus_per_task": 1,
            "mem_mb": 3000,
            "runtime": 15,
            "instance_count": 2,
            "spot": True,
            "generation": {"nodes": 1, "slurm_partition": "other", "spot": False},
            "evaluation": {"instance_count": 1, "spot": False},
        },
    },
    "demo-split": {
        "base": "demo-sft",
        "dataset": "demo-chat",
        "generation": {"engine": "deepspeed_zero", "max_new_tokens": 16, "limit": 16},
        "resources": {"generation": {"instance_count": 2}},
    },
}
"""What is other than in the demo. The chats are learned by an adapter, which all that read it put on its base.

Machines are never identity: whoever runs here ignores them.
"""
EARLY = ("process-", "pack-", "model-", "tokenizer-", "download-")
"""Stages before the first training. What they make is brought along to where jobs run: they would show nothing new."""
LEFT_OUT = {"demo-pretrain": ("generation", "evaluation")}
GONE = ("demo-dpo", "demo-grpo")
"""Runs of the demo that are not made: a training and its answers show where they run as well as four do."""
PROMPTS = 16


def create(folder: Path, home: Path) -> Demo:
    """Return a clone in which nothing has run, with the runs above."""
    demo = Demo.create(folder, home)
    yaml = YAML()
    for name, changes in RUNS.items():
        file = folder / "config" / "demo" / "runs" / f"{name}.yaml"
        run = yaml.load(file) if file.exists() else {}
        for section, values in changes.items():
            run[section] = run.get(section, {}) | values if isinstance(values, dict) else values
        if "generation" in run:
            run["generation"]["limit"] = PROMPTS
        for section in LEFT_OUT.get(name, ()):
            del run[section]
        yaml.dump(run, file)
    for name in GONE:
        (folder / "config" / "demo" / "runs" / f"{name}.yaml").unlink()
    demo.make("clone-settings")
    demo.run(sys.executable, "workflow/pipeline", "write")
    demo.commit("fewer steps")
    return demo


def bring(made: Demo, demo: Demo, *more: str) -> None:
    """Bring what was made before the first training from another clone, whose cache serves as a DVC remote.

    Brought besides are the stages whose names begin with one of `more`.
    """
    entries = read_lock(made.folder / "dvc.lock")
    brought = {name: entry for name, entry in entries.items() if name.startswith((*EARLY, *more))}
    write_entries(brought, demo.folder / "dvc.lock")
    demo.run("dvc", "remote", "add", "--local", "home", str(made.folder / ".dvc" / "cache"))
    demo.run("dvc", "pull", "--remote", "home", *brought)


@pytest.fixture(scope="session")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A clone in which `dvc repro` alone has made everything. Copy it; do not change it."""

    def make(folder: Path) -> None:
        demo = create(folder / "heirloom", folder)
        demo.warm(*OF_EACH_RANK).run("dvc", "repro")
        demo.commit("made at home")

    folder = made_once(tmp_path_factory, "short-chain-at-home", make)
    return Demo(folder / "heirloom", folder)
