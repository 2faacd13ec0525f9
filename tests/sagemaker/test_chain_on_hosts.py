"""`snakemake --profile sagemaker` on the demo's chain: SFT → generate → evaluate, as real jobs.

SFT trains on two hosts of spot capacity, which is taken away once; the model answers on two hosts by two engines,
whose ranks have each all of the model and a part of the prompts, or each a part of the model; it is scored on one host.
Then the same bytes as at home.
"""

import json
import re
from collections.abc import Iterator

import pytest
import short_chain
from cloud import BUCKET, PLUGIN_SOURCES, Cloud, cloud_on_loopback
from demo_clone import Demo
from loopback import SpotInterruption
from submitting import fill_in_profile

from heirloom.training.callbacks.resuming import COMPLETE
from pipeline.ledger.lockfile import read_lock


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    hidden = (str(tmp_path_factory.getbasetemp()),)
    with cloud_on_loopback({"PYTHONPATH": str(PLUGIN_SOURCES)}, hidden) as cloud:
        cloud.aws.client("s3").create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture(scope="module")
def away(at_home: Demo, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A clone in which `snakemake --profile sagemaker` has made what follows the base and its answers.

    With an interruption on the way.
    """
    folder = tmp_path_factory.mktemp("away")
    demo = short_chain.create(folder / "heirloom", folder)
    short_chain.bring(at_home, demo, "train-demo-pretrain", "baseline-", "scores-")
    fill_in_profile(demo.folder)
    demo.commit("the profile filled in")
    demo.environment |= cloud.variables
    demo.run("dvc", "push")
    kept = f"checkpoints/train-demo-sft-*/checkpoint-5/{COMPLETE}"
    cloud.sagemaker.plan(SpotInterruption(job="train-demo-sft", when=kept, grace=60))
    try:
        demo.run("snakemake", "--profile", "sagemaker", "--config", "here=report")
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n{cloud.logs()}") from None
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
        "train-demo-sft": 2,
        "generate-demo-sft": 2,
        "generate-demo-split": 2,
        "evaluate-demo-sft": 1,
    }
    log = (away.folder / "logs" / "train-demo-sft.log").read_text()
    assert re.search(r"resuming from checkpoint-\d+", log), log


def test_afterwards_nothing_is_to_do_and_no_checkpoint_is_kept(cloud, away):
    assert "Nothing to be done" in away.run("snakemake", "--profile", "sagemaker", "-n")
    assert not cloud.aws.objects(BUCKET, "jobs/checkpoints/")
