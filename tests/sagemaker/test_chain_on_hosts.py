"""`snakemake --profile sagemaker` on the demo's chain: pretrain → SFT → DPO → generate → evaluate, as real jobs.

SFT trains on two hosts of spot capacity, which is taken away once; all models answer on two hosts, each with another
engine. Then the same bytes as at home.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import BUCKET, PLUGIN_SOURCES, Cloud, cloud_on_loopback
from demo_clone import Demo
from loopback import SpotInterruption
from ruamel.yaml import YAML
from submitting import fill_in_profile

from heirloom.training.callbacks.resuming import COMPLETE
from pipeline.ledger.lockfile import read_lock

SPOT = {"instance_count": 2, "spot": True}
TWO_HOSTS = {"instance_count": 2}
RUNS = {
    "demo-pretrain": {"training": {"max_steps": 30}},
    "demo-sft": {
        "training": {"max_steps": 20, "packing": True},
        "generation": {"engine": "accelerate"},
        "tracking": {"save_steps": 5},
        "resources": SPOT | {"generation": {"spot": False}},
    },
    "demo-dpo": {
        "training": {"max_steps": 4},
        "generation": {"engine": "deepspeed_zero"},
        "evaluation": {"base": False},
        "resources": {"generation": TWO_HOSTS, "evaluation": TWO_HOSTS},
    },
    "demo-split": {
        "base": "demo-dpo",
        "dataset": "demo-chat",
        "generation": {"engine": "deepspeed", "max_new_tokens": 16, "limit": 16},
        "resources": {"generation": TWO_HOSTS},
    },
}
"""What is other than in the demo: fewer steps and prompts, engines, machines."""
SELECTED = ("--config", "runs=demo-*")
LEFT_OUT = {"demo-pretrain": ("generation", "evaluation"), "demo-sft": ("evaluation",)}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    hidden = (str(tmp_path_factory.getbasetemp()),)
    with cloud_on_loopback({"PYTHONPATH": str(PLUGIN_SOURCES)}, hidden) as cloud:
        cloud.aws.client("s3").create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A clone with data and model, from which the others go on."""
    folder = tmp_path_factory.mktemp("begun")
    demo = create(folder / "heirloom", folder)
    demo.run("snakemake", "--quiet", "rules", "--until", "process", "model", *SELECTED)
    demo.commit("data and model")
    return demo


def copy_of(demo: Demo, folder: Path) -> Demo:
    shutil.copytree(demo.folder, folder / "heirloom", symlinks=True)
    return Demo(folder / "heirloom", folder)


@pytest.fixture(scope="module")
def at_home(begun: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A clone in which plain `snakemake` has made everything."""
    demo = copy_of(begun, tmp_path_factory.mktemp("at-home"))
    demo.run("snakemake", "--quiet", "rules", *SELECTED)
    return demo


@pytest.fixture(scope="module")
def away(begun: Demo, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A clone in which `snakemake --profile sagemaker` has made everything, with an interruption on the way."""
    demo = copy_of(begun, tmp_path_factory.mktemp("away"))
    fill_in_profile(demo.folder)
    demo.commit("the profile filled in")
    demo.environment |= cloud.variables
    demo.run("dvc", "push")
    kept = f"checkpoints/train-demo-sft-*/checkpoint-5/{COMPLETE}"
    cloud.sagemaker.plan(SpotInterruption(job="train-demo-sft", when=kept, grace=60))
    try:
        demo.run("snakemake", "--profile", "sagemaker", *SELECTED, "here=report")
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n{cloud.logs()}") from None
    return demo


def create(folder: Path, home: Path) -> Demo:
    """Return a clone in which nothing has run, with the runs above."""
    demo = Demo.create(folder, home)
    yaml = YAML()
    for name, changes in RUNS.items():
        file = folder / "config" / "runs" / f"{name}.yaml"
        run = yaml.load(file) if file.exists() else {}
        for section, values in changes.items():
            run[section] = run.get(section, {}) | values if isinstance(values, dict) else values
        if "generation" in run:
            run["generation"]["limit"] = 16
        for section in LEFT_OUT.get(name, ()):
            del run[section]
        yaml.dump(run, file)
    demo.run("make", "clone-settings", f"VENV={sys.prefix}")
    demo.run(sys.executable, "workflow/pipeline", "write")
    demo.commit("fewer steps")
    return demo


def hashes_of_results(demo: Demo) -> dict[str, str]:
    """Return artifact → DVC's hash, as dvc.lock records it."""
    entries = read_lock(demo.folder / "dvc.lock")
    results = {out["path"]: out["md5"] for entry in entries.values() for out in entry["outs"]}
    return {path: value for path, value in results.items() if not path.startswith("reports/")}  # they tell times


def test_the_same_bytes_as_at_home(at_home, away):
    assert hashes_of_results(away) == hashes_of_results(at_home)


def test_each_stage_is_one_job_and_an_interrupted_one_goes_on(cloud, away):
    stages = cloud.stages()
    records = {name: away.folder / ".heirloom" / "records" / f"{name}.json" for name in stages}
    assert len(stages) == len(records)
    assert {name: json.loads(file.read_text())["ranks"]["nodes"] for name, file in records.items()} == {
        "train-demo-pretrain": 1,
        "train-demo-sft": 2,
        "train-demo-dpo": 1,
        "generate-demo-sft": 2,
        "generate-demo-dpo": 2,
        "generate-demo-split": 2,
        "evaluate-demo-dpo": 2,
    }
    log = (away.folder / "logs" / "train-demo-sft.log").read_text()
    assert re.search(r"resuming from checkpoint-\d+", log), log


def test_afterwards_nothing_is_to_do_and_no_checkpoint_is_kept(cloud, away):
    assert "Nothing to be done" in away.run("snakemake", "--profile", "sagemaker", "-n", *SELECTED)
    assert not cloud.aws.objects(BUCKET, "jobs/checkpoints/")
