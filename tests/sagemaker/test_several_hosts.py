"""Several hosts of one training job: how ranks start, resume and end together. Jobs and hosts are real."""

import json
import re

import pytest
from cloud import BUCKET, PLUGIN_SOURCES
from job_by_hand import LIMIT, UNTIL_NOW, Job
from loopback import HostDeath, LateNames, SpotInterruption
from running import wait_until
from training_workplace import LAUNCH, ROOT, TRAINING, Workplace, make_workplace, tree

BEST = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "greater_is_better": True}
BEST |= {"metric_for_best_model": "mean_token_accuracy"}
"""It grows until step 8 of 12, and is the same after that."""
PROGRAM = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.append({str(LAUNCH.parent)!r})
import heirloom.rank
rank, world = os.environ["RANK"], os.environ["WORLD_SIZE"]
work = Path(os.environ["HEIRLOOM_WORK_DIR"])
def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def loopback_options(tmp_path) -> dict:
    return {"hide": (str(tmp_path),), "container_env": {"PYTHONPATH": str(PLUGIN_SOURCES)}, "grace": 60.0}


@pytest.fixture
def job(loopback, aws, bucket, tmp_path):
    """Make a function that runs a small program on two hosts."""

    def start(body: str, **options) -> Job:
        folder = tmp_path / "place"
        folder.mkdir()
        (folder / "program.py").write_text(PROGRAM + body)
        return Job(aws, loopback, "small", folder, "torchrun", "program.py", "--output", "x", **options)

    return start


def test_each_host_gets_a_rank_however_late_it_is_found(job, loopback):
    """The head hashes a while before it launches, and names resolve late; whatever is kept is gone at the end."""
    if loopback.use_namespaces:
        loopback.plan(LateNames(seconds=3))
    body = """
work.mkdir(exist_ok=True)
(work / f"kept{rank}").touch()
say(f"rank {rank} of {world} on {os.environ['SM_CURRENT_HOST']} for {os.environ['HEIRLOOM_IDENTITY'][:4]}")
"""
    small = job(body, before="sleep 5")
    assert small.end()["TrainingJobStatus"] == "Completed", small.log
    hosts = ("algo-1", "algo-2") if loopback.use_namespaces else ("127.0.0.1", "127.0.0.2")
    for rank, host in enumerate(hosts):
        assert f"rank {rank} of 2 on {host} for 0123" in small.log.splitlines()
    assert small.kept() == []


def test_a_head_that_restores_lets_the_others_end_well(job):
    small = job("say('ran')", restored=True, before=UNTIL_NOW)
    small.wait_for_line("train-x: waiting for")
    small.now()
    assert small.end()["TrainingJobStatus"] == "Completed", small.log
    assert "train-x: restored from an earlier identical execution" in small.log
    assert "ran" not in small.log.splitlines()


def test_hosts_that_cannot_share_the_cpu_ranks_are_refused(job):
    small = job("say('ran')", hosts=3)
    assert (
        small.end()["FailureReason"]
        .split("\n")[1]
        .startswith(
            "launch.py: the training job has 3 hosts without a GPU: 2 CPU ranks in total cannot be shared evenly; set "
            "resources.instance_count to 1 or 2, or an instance_type with GPUs"
        )
    )


@pytest.mark.parametrize("failing", [0, 1])
def test_the_first_error_of_a_rank_ends_all_hosts_and_reaches_the_user(job, failing):
    small = job(f"if rank == '{failing}': raise RuntimeError('the real cause')\ntime.sleep(250)")
    description = small.end()
    assert description["TrainingJobStatus"] == "Failed"
    where = "" if failing == 0 else r"(algo-2|127\.0\.0\.2): "
    assert re.search(f"train-x failed: {where}RuntimeError: the real cause", description["FailureReason"])


def test_a_lost_host_ends_the_others_at_once(job, loopback):
    """Whose rank would wait for it; SageMaker may take long to notice."""
    loopback.plan(HostDeath(when="checkpoints/train-x-*/begun1", noticed=False, silent=loopback.use_namespaces))
    small = job("work.mkdir(exist_ok=True)\n(work / f'begun{rank}').touch()\ntime.sleep(250)")
    description = small.end()
    assert description["TrainingJobStatus"] == "Failed"
    assert "the host was lost: no sign of life from" in small.log


STOPS_GENTLY = """
def stop(number, _):
    time.sleep(1)
    say(f"rank {rank} kept its work after {signal.Signals(number).name}")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
work.mkdir(exist_ok=True)
(work / f"begun{rank}").touch()
say(f"rank {rank} has begun")
time.sleep(250)
"""


SIGNALS_LAUNCHER = f"{{ {UNTIL_NOW}; kill -TERM $(cat .heirloom/work/train-x-*/launcher.pid); }} &"


@pytest.mark.parametrize("way", ["the launcher", "the job"])
def test_a_signal_reaches_all_ranks_and_each_has_time_to_end(job, loopback, way):
    """To the head's launcher alone, as when DVC is killed; to all hosts, as when a person stops the job."""
    small = job(STOPS_GENTLY, before=SIGNALS_LAUNCHER)
    for rank in (0, 1):
        small.wait_for_line(f"rank {rank} has begun")
    if way == "the job":
        small.client.stop_training_job(TrainingJobName=small.name)
    else:
        small.now()
    description = small.end()
    assert description["TrainingJobStatus"] == ("Stopped" if way == "the job" else "Failed")
    for rank in (0, 1):
        assert f"rank {rank} kept its work after SIGTERM" in small.log.splitlines()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("workplace"))


def test_an_interrupted_training_ends_with_the_bytes_that_one_host_makes(loopback, aws, bucket, workplace, tmp_path):
    """DPO at ZeRO-3: each host keeps its own shards. What its reference gives the rows is made on two hosts before.

    Spot capacity is taken away twice. The second time one of the files that host 2 kept gets lost on its way: the
    checkpoint before counts, on both hosts. The best state, which is not the last, is kept and restored likewise.
    """
    flags = {"trainer": "dpo", "dataset": "preference", "base": "model", "output": "scores"}
    flags |= {"training": '{"per_device_train_batch_size": 4}', "deepspeed": str(ROOT / "config/deepspeed/zero3.json")}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    scoring = ("torchrun", str(ROOT / "scripts/score_reference.py"), *words)
    workplace.launch(*scoring)
    scores = workplace.folder.parent / "scores"
    (workplace.folder / "scores").rename(scores)
    job = Job(aws, loopback, "scoring", workplace.folder, *scoring, results=("scores",))
    assert job.end()["TrainingJobStatus"] == "Completed", job.log
    assert tree(job.fetch_results(tmp_path / "scored") / "scores") == tree(scores)
    scores.rename(workplace.folder / "scores")

    tracking = {"logging_steps": 1, "save_steps": 3, "save_total_limit": 1}
    command = workplace.training(
        *("dpo_train.py", "out"),
        zero="zero3",
        dataset="preference",
        base="model",
        training=TRAINING | BEST,
        tracking=tracking,
    )
    command += ["--reference_scores", "scores"]
    workplace.launch(*command)
    expected = workplace.folder / "out"
    train = json.loads((expected / "metrics.json").read_text())["train"]
    assert (train["kept_step"], train["steps"]) == (8, 12)
    expected = expected.rename(workplace.folder.parent / "expected")

    loopback.plan(
        SpotInterruption(when="checkpoints/train-x-*/checkpoint-3/complete.json", grace=60),
        SpotInterruption(when="checkpoints/train-x-*/checkpoint-9/complete.json", grace=60, capacity_back_after=5),
    )
    results = ("out/checkpoint", "out/metrics.json", "out/loss.csv")
    training = Job(aws, loopback, "training", workplace.folder, *command, results=results)
    loopback.wait_for(training.name, "Interrupted", LIMIT)
    wait_until(lambda: training.transitions("Interrupted") == 2, "the second interruption", LIMIT)
    newest = training.newest_checkpoint()
    lost = next(name for name in training.kept() if f"checkpoint-{newest}/" in name and "zero_pp_rank_1" in name)
    aws.client("s3").delete_object(Bucket=BUCKET, Key=f"{training.prefix}{lost}")

    assert training.end()["TrainingJobStatus"] == "Completed", training.log
    resumed = [int(step) for step in re.findall(r"resuming from checkpoint-(\d+)", training.log)]
    assert len(resumed) == 2 and 3 <= resumed[0] < 9 <= newest, training.log
    assert resumed[0] <= resumed[1] < newest, training.log  # at once after step 9, or some steps later
    # what is written after SIGTERM gets to S3, though SageMaker copies nothing any more
    assert {int(step) for step in re.findall(r"stopped by SIGTERM at step (\d+)", training.log)} == {resumed[0], newest}
    assert tree(training.fetch_results(tmp_path / "results") / "out") == tree(expected)
    assert training.kept() == []
