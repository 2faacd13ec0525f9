"""The demo's pre-training as a real one: two hosts on spot capacity, which is taken away once."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import BUCKET, PLUGIN_SOURCES, Cloud, cloud_on_loopback
from demo_clone import Demo, hashes
from loopback import SpotInterruption
from submitting import PROFILE, fill_in_profile

RESOURCES = "resources: {instance_type: ml.m5.large, instance_count: 2, spot: true, max_runtime: 3000}\n"
RUN = ("--config", "runs=demo-pretrain", "--until", "train")


@pytest.fixture
def bare_cloud(tmp_path: Path) -> Iterator[Cloud]:
    """An AWS whose image has no stand-ins."""
    with cloud_on_loopback({"PYTHONPATH": str(PLUGIN_SOURCES)}, hide=(str(tmp_path),), grace=60.0) as cloud:
        cloud.aws.client("s3").create_bucket(Bucket=BUCKET)
        yield cloud


def test_a_training_that_was_interrupted_on_two_hosts_ends_with_the_bytes_of_one_here(
    bare_cloud: Cloud, tmp_path: Path
) -> None:
    demo = Demo.create(tmp_path / "demo", tmp_path)
    file = demo.folder / "config/runs/demo-pretrain.yaml"
    text = re.sub(r"max_steps: \d+", "max_steps: 24", file.read_text())
    file.write_text(re.sub(r"save_steps: \d+", "save_steps: 4", text) + RESOURCES)
    demo.run(sys.executable, "workflow/pipeline", "write")
    fill_in_profile(demo.folder)
    profile = demo.folder / PROFILE
    profile.write_text(f"{profile.read_text()}config: ['here=download,tokenizer,model,process']\n")
    demo.commit("few steps, two hosts")
    demo.environment |= bare_cloud.variables

    bare_cloud.sagemaker.plan(SpotInterruption(when="checkpoints/*/checkpoint-8/complete.json", grace=60))
    demo.run("snakemake", "--profile", "sagemaker", *RUN)
    log = bare_cloud.sagemaker.logs.text(bare_cloud.job("train-demo-pretrain"))
    assert len(re.findall(r"resuming from checkpoint-\d+", log)) == 1, log
    assert bare_cloud.stages() == ["train-demo-pretrain"]
    assert not [key for key in bare_cloud.aws.objects(BUCKET, "jobs/checkpoints/") if "checkpoint-" in key]

    demo.run("dvc", "pull", "train-demo-pretrain")
    away = hashes(demo.folder / "checkpoints")
    assert away
    demo.run("snakemake", "--config", "runs=demo-pretrain", "force=train-demo-pretrain", "--until", "train")
    assert hashes(demo.folder / "checkpoints") == away
