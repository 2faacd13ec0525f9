"""What is computed before trainings, for all that want the same: both engines agree on what makes it anew."""

import json
import re

from clone import Clone, succeeded

PAIRS = """\
tokenizer: tiny
source: {path: config/pairs.jsonl}
processing: {processing_function: dummy_rlhf_processing_function, max_length: 16, max_prompt_length: 8}
"""
RUN = """\
base: pre
dataset: pairs
trainer: dpo
training: {beta: 0.1, per_device_train_batch_size: 1, global_batch_size: 2, max_steps: 1}
"""


def test_a_second_beta_scores_nothing_and_new_rows_are_scored_again(clone: Clone) -> None:
    clone.write("config/pairs.jsonl", "{}\n")
    clone.write("config/datasets/pairs.yaml", PAIRS)
    clone.write("config/runs/careful.yaml", RUN)
    succeeded(clone.snakemake())
    process, scores, *own = clone.executed()
    assert (process, own) == ("process-pairs", ["report-careful", "train-careful"])
    assert re.fullmatch(r"reference-pre-on-pairs-[0-9a-f]{8}", scores)
    clone.nothing_to_do()

    clone.edit("config/runs/careful.yaml", "beta: 0.1", "beta: 0.5")
    clone.write("config/runs/bold.yaml", RUN.replace("beta: 0.1", "loss_type: [ipo], seed: 3"))
    trained = {f"{kind}-{run}" for kind in ("train", "report") for run in ("bold", "careful")}
    assert set(clone.plan()) == clone.snakemake_jobs() == trained
    succeeded(clone.pipeline("write"))
    succeeded(clone.dvc("repro"))
    assert set(clone.executed()) == trained
    clone.nothing_to_do()

    clone.write("config/pairs.jsonl", "{}\n{}\n")
    assert set(clone.plan()) == clone.snakemake_jobs() == {process, scores, *trained}
    succeeded(clone.snakemake())
    assert set(clone.executed()) == {process, scores, *trained}

    clone.edit("config/runs/bold.yaml", "seed: 3", "seed: 3, reference: inline")  # its own stage alone
    assert set(clone.plan()) == clone.snakemake_jobs() == {"train-bold", "report-bold"}
    succeeded(clone.snakemake())
    clone.executed()
    clone.nothing_to_do()


def test_rows_are_packed_once_and_the_plan_then_knows_the_steps(clone: Clone) -> None:
    packing = "packing: true, per_device_train_batch_size: 1, global_batch_size: 2, num_train_epochs: 3"
    for name in ("dense", "denser"):
        keys = packing if name == "dense" else f"{packing}, learning_rate: 1e-3"
        clone.write(f"config/runs/{name}.yaml", f"base: pre\ndataset: chats\ntrainer: sft\ntraining: {{{keys}}}\n")
    trained = {f"{kind}-{run}" for kind in ("train", "report") for run in ("dense", "denser")}
    assert set(clone.plan()) == clone.snakemake_jobs() == {"pack-chats-bfd-max", *trained}
    succeeded(clone.snakemake("--config", "runs=dense", "--until", "pack"))
    assert clone.executed() == ["pack-chats-bfd-max"]
    (run,) = json.loads(succeeded(clone.pipeline("plan", "--json", "--runs", "dense")).stdout)["runs"]
    (training,) = (stage for stage in run["stages"] if stage["stage"].startswith("train-"))
    assert (training["steps"], training["exact"]) == (15, True)  # 10 packed rows, 2 a step, three times

    succeeded(clone.pipeline("write"))
    succeeded(clone.dvc("repro", "train-dense"))
    assert clone.executed() == ["train-dense"]


def test_rewards_are_tried_before_a_training_and_again_only_where_they_or_rows_are_others(clone: Clone) -> None:
    clone.write("own_rewards.py", "def polite(rows):\n    return [1.0 for row in rows]\n")
    rewards = "rewards: [{function: exact_match}, {function: 'own_rewards:polite', weight: 0.5}]"
    keys = f"learning_rate: 1e-5, per_device_train_batch_size: 4, global_batch_size: 8, max_steps: 1, {rewards}"
    clone.write("config/runs/learning.yaml", f"base: pre\ndataset: chats\ntrainer: grpo\ntraining: {{{keys}}}\n")
    trained = {"train-learning", "report-learning"}
    assert set(clone.plan()) == clone.snakemake_jobs() == {"rewards-learning", *trained}
    succeeded(clone.snakemake("--config", "runs=learning", "--until", "rewards"))
    assert clone.executed() == ["rewards-learning"]
    succeeded(clone.pipeline("write"))
    succeeded(clone.dvc("repro"))
    assert clone.executed() == ["report-learning", "train-learning"]
    assert (clone.folder / "metrics/completions/learning.jsonl").is_file()
    clone.nothing_to_do()

    clone.edit("config/runs/learning.yaml", "learning_rate: 1e-5", "learning_rate: 1e-4")
    assert set(clone.plan()) == clone.snakemake_jobs() == trained
    clone.edit("config/runs/learning.yaml", "learning_rate: 1e-4", "learning_rate: 1e-5")
    clone.write("own_rewards.py", "def polite(rows):\n    return [2.0 for row in rows]\n")
    assert set(clone.plan()) == clone.snakemake_jobs() == {"rewards-learning", *trained}
    clone.edit("config/runs/learning.yaml", "weight: 0.5", "weight: 0.7")
    assert set(clone.plan()) == clone.snakemake_jobs() == {"rewards-learning", *trained}
