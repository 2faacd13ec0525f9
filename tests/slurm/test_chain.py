"""`snakemake --profile slurm`: the demo's chain as jobs of a real Slurm, SFT on two nodes, with a job that has to make
way for another and a node that is lost. Then the same bytes as at home.
"""

import json
import os
import platform
import re
import signal
from pathlib import Path

import pytest
import short_chain
import slurm_demo
from demo_clone import ARTIFACTS, Demo, hashes
from loopback_cluster import Cluster
from warm_start import OF_EACH_RANK, warm_ranks
from watched_page import watching

from heirloom.training.callbacks.resuming import COMPLETE


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def on_cluster(
    cluster: Cluster, home: Path, at_home: Demo, tmp_path_factory: pytest.TempPathFactory
) -> slurm_demo.OnCluster:
    """The chain on the cluster, with both accidents on the way. What precedes the trainings is brought along."""
    demo = short_chain.create(tmp_path_factory.mktemp("on-cluster") / "heirloom", home)
    short_chain.bring(at_home, demo, "baseline-", "generate-demo-split")
    slurm_demo.poll_every(demo, 1)
    demo.environment |= warm_ranks(OF_EACH_RANK)  # the jobs have it, as srun's steps have; all else in them begins cold
    work = demo.folder / ".heirloom" / "work"
    workflow = slurm_demo.OnCluster(demo, cluster)
    workflow.wait_for(lambda: list(work.glob(f"train-demo-pretrain-*-w2/checkpoint-*/{COMPLETE}")))
    cluster.run("scontrol", "requeue", training_job(cluster, "demo-pretrain"))
    with watching(demo.folder, workflow.environment, elsewhere=True) as page:
        page.state()  # who looks has the plan made, which takes a while
        workflow.wait_for(lambda: list(work.glob(f"train-demo-sft-*-w2/checkpoint-*/{COMPLETE}")))
        job = training_job(cluster, "demo-sft")
        workflow.nodes = cluster.run("squeue", "--noheader", "--jobs", job, "--format", "%N").strip()
        workflow.shown = page.state()
        cluster.lose("n2")
    workflow.exit_code = workflow.end()
    cluster.start_node("n2")
    return workflow


def training_job(cluster: Cluster, run: str) -> str:
    """Return the job that trains a run."""
    listing = cluster.run("squeue", "--noheader", "--states", "RUNNING", "--format", "%i %k")
    (job,) = (line.split()[0] for line in listing.splitlines() if f"rule_train_wildcards_{run}" in line)
    return job


def test_the_chain_ends_well_in_spite_of_both_accidents(on_cluster):
    assert on_cluster.exit_code == 0, on_cluster.story()
    for run, ranks in (("demo-pretrain", 2), ("demo-sft", 2)):
        log = (on_cluster.demo.folder / "logs" / f"train-{run}.log").read_text()
        assert re.search(r"resuming from checkpoint-\d+", log), log
        record = json.loads((on_cluster.demo.folder / ".heirloom" / "records" / f"train-{run}.json").read_text())
        assert record["ranks"]["nodes"] * record["ranks"]["per_node"] == ranks
    assert on_cluster.nodes == "n[1-2]" and record["ranks"] == {"nodes": 2, "per_node": 1, "device": "cpu"}
    assert not list((on_cluster.demo.folder / ".heirloom" / "work").iterdir())


def test_the_page_of_make_watch_shows_what_trains_on_two_nodes_by_its_log(on_cluster):
    """It is asked on a machine of another name, which shares the folder and cannot look at processes of the nodes."""
    (running,) = on_cluster.shown["running"]
    assert running["stage"] == "train-demo-sft"
    place = f"on {re.escape(platform.node())}" if os.geteuid() == 0 else "here"
    assert re.fullmatch(rf"{place} for (\d+ min )?\d+ s", running["since"])
    assert re.fullmatch(r"step \d+/30", running["progress"]["text"]) and running["left"].endswith(" left")
    steps, losses = running["curves"]["loss"]
    assert steps and len(steps) == len(losses)
    assert running["curves"].keys() >= {"tokens/s", "memory"}
    assert any(line.startswith("step ") for line in running["lines"])
    assert "generate-demo-sft" in [row["stage"] for row in on_cluster.shown["waiting"]["rows"]]
    assert on_cluster.shown["failed"]["all"] == 0


def test_artifacts_are_those_made_at_home(on_cluster, at_home):
    for kind in ARTIFACTS:
        found, expected = hashes(on_cluster.demo.folder / kind), hashes(at_home.folder / kind)
        assert expected and found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == []


def test_afterwards_nothing_is_to_do_there_and_here(on_cluster):
    demo = on_cluster.demo.warm()
    demo.nothing_to_do()
    assert "Nothing to be done" in demo.run("snakemake", "--profile", "slurm", "-n")
    file = demo.folder / "config" / "demo" / "runs" / "demo-sft.yaml"
    file.write_text(file.read_text().replace("nodes: 2", "nodes: 1"))
    assert demo.plan() == []  # machines are no identity


def test_jobs_ask_for_what_run_and_profile_say(cluster, on_cluster):
    """The log of the plugin's own submission is only kept for failures, so Slurm's memory of its jobs is asked."""
    listing = cluster.run("squeue", "--noheader", "--states", "all", "--format", "%k|%P|%a|%D|%m|%l|%C")
    asked = dict(line.split("|", 1) for line in listing.splitlines() if "demo-" in line)
    jobs = {name.removeprefix("rule_").replace("_wildcards_", " "): value for name, value in asked.items()}
    assert jobs["train demo-sft"] == "main|(null)|2|3000M|15:00|2"
    assert jobs["generate demo-sft"] == "other|(null)|1|3000M|15:00|1"
    assert jobs["train demo-pretrain"] == "other|lab|1|3000M|15:00|2"
    assert jobs["report demo-pretrain"] == "main|(null)|1|8000M|2:00:00|2"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_snakemake_cancels_its_jobs(cluster, on_cluster, number):
    """SIGTERM too, where Snakemake by itself waits until they end; what the stage has kept is taken up again."""
    demo = on_cluster.demo
    workflow = slurm_demo.OnCluster(demo, cluster, "--config", "force=train-demo-pretrain")
    workflow.wait_for(lambda: "RUNNING" in cluster.jobs().values())
    workflow.process.send_signal(number)
    assert workflow.end(120) != 0
    cluster.wait_for(lambda: not {"RUNNING", "PENDING", "COMPLETING"} & set(cluster.jobs().values()))
