"""The plan ends with what it takes: steps, tokens, memory of the cards, hours, and what cannot fit."""

import json
import re
import sys
from datetime import UTC, datetime

import pytest
from clone import Clone, succeeded

MODEL = """
source: {hub: someone/large, revision: a123456789012345678901234567890123456789}
tokenizer: {pad_token: "<pad>"}
shape: {model_type: llama, vocab_size: 128256, hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32,
  num_attention_heads: 32, num_key_value_heads: 8}
"""
DATASET = """
tokenizer: big
source: {path: config/large.jsonl}
processing: {processing_function: plain_text_processing_function, max_length: 1024, packed: true}
"""
RUN = """
base: big
dataset: large
trainer: trainer
deepspeed: zero2
training: {per_device_train_batch_size: 4, global_batch_size: 32, num_train_epochs: 2, bf16: true}
resources: {instance_type: ml.p4d.24xlarge}
"""


@pytest.fixture
def large(fresh: Clone, tmp_path) -> Clone:
    clone = fresh.copy_to(tmp_path / "large")
    clone.write("config/models/big.yaml", MODEL)
    clone.write("config/datasets/large.yaml", DATASET)
    clone.write("config/large.jsonl", "x" * (4096 * 1000))
    clone.write("config/runs/large.yaml", RUN)
    return clone


def quoted(clone: Clone) -> dict:
    """Return the quotation of the run `large` as programs get it, its training first."""
    found = json.loads(succeeded(clone.pipeline("plan", "--json", "--runs", "large")).stdout)
    assert found["schema"] == 1
    (run,) = found["runs"]
    return run | run["stages"][0]


def test_a_stage_that_cannot_fit_is_told_with_the_cheapest_change_that_does(large: Clone):
    """8 billion weights under ZeRO-2 on 8 GPUs: 16 GB of weights, 12 of 32-bit states, and activations, on 40 GB."""
    found = quoted(large)
    assert found["title"] == "8,030,261,248 parameters, all trained · ≈ 1,024,000 tokens an epoch · 32 sequences a step"
    # 1000 rows of 1024 tokens, 8 ranks × 4: 32 batches a rank and epoch
    assert (found["steps"], found["tokens"], found["exact"]) == (64, 2_048_000, False)
    assert not found["gpu_memory_gib"]["fits"] and found["gpu_memory_gib"]["card"] == 39.5
    large.edit("config/runs/large.yaml", "resources:", "plan: {budget: 1}\nresources:")
    done = large.snakemake("-n", "--config", "runs=large")
    last, budget = done.stderr.splitlines()[-3], done.stderr.splitlines()[-1]
    assert budget == (
        "error: config/runs/large.yaml: plan.budget is $1.00, and what train-large will cost is not known "
        "(price or time): remove it"
    )
    assert done.returncode == 0
    match = re.fullmatch(
        r"error: train-large: ml\.p4d\.24xlarge has too little memory, "
        r"[\d.]+ of 39\.5 GiB a GPU at its peak \([\w-]+\); "
        r"(.*) takes [\d.]+ of [\d.]+ GiB",
        last,
    )
    assert match, done.stderr[-2000:]
    # what is advised is true
    changed = {"training.per_device_train_batch_size: 1 with deepspeed: zero3": ("size: 4", "size: 1"),
               "deepspeed: zero3": ("", "")}  # fmt: skip
    assert match[1] in changed, match[1]
    large.edit("config/runs/large.yaml", "deepspeed: zero2", "deepspeed: zero3")
    large.edit("config/runs/large.yaml", "bf16: true", "bf16: true, gradient_checkpointing: true")
    large.edit("config/runs/large.yaml", *changed[match[1]])
    found = quoted(large)
    assert found["gpu_memory_gib"]["fits"] and not found["gpu_memory_gib"]["tight"]
    assert found["usd_on_demand"] is None and "price unknown of ml.p4d.24xlarge" in found["unknown"][-1]
    price = "{usd_per_hour: 30, page: 'https://example.org/prices', read: 2026-11-29}"
    large.write("config/prices.yaml", f"eu-west-1:\n  ml.p4d.24xlarge: {price}\n")
    found = quoted(large)
    assert found["usd_on_demand"] == pytest.approx(found["seconds"]["expected"] * 30 / 3600, abs=0.02)
    seconds = found["seconds"]
    assert 0 < seconds["low"] < seconds["expected"] < seconds["high"] and found["at_most"] is False
    early = "bf16: true, eval_strategy: epoch, early_stopping_patience: 2"
    large.edit("config/runs/large.yaml", "bf16: true", early)
    large.edit("config/datasets/large.yaml", "max_length: 1024", "max_length: 1024, test_rows: 8")
    assert quoted(large)["at_most"] is True
    table = succeeded(large.snakemake("-n", "--config", "runs=large")).stderr
    assert re.search(r"train +.*ml.p4d.24xlarge +≤ ≈ 64 +≤ ≈ 2.05 M +≤ [\d.]+ – [\d.]+ – [\d.]+ +≤ \$", table), table
    assert "on demand; at most, as early stopping may end trainings sooner" in table


def test_main_memory_disk_and_bytes_to_move_are_quoted(large: Clone):
    """8 billion weights of 2 bytes come to two machines; 2 of each go back, and 12 with each state to resume from."""
    weights, tokens = 8_030_261_248, 1_024_000
    large.edit("config/runs/large.yaml", "deepspeed: zero2", "deepspeed: zero3")
    large.edit("config/runs/large.yaml", "batch_size: 4, global", "batch_size: 2, global")
    two = "ml.p4d.24xlarge, instance_count: 2"
    large.edit("config/runs/large.yaml", "ml.p4d.24xlarge", two)
    read = 2 * weights + 4 * tokens
    found = quoted(large)
    assert found["bytes"] == {
        "disk": read + 2 * weights + 12 * weights // 2, "download": 2 * read, "upload": 14 * weights
    }  # fmt: skip
    assert found["host_memory_gib"]["machine"] == 1152
    assert found["host_memory_gib"]["needed"] == pytest.approx(8 * 1.76 + 2 * weights / 2**30, rel=0.01)
    # what lies beside each other and what is written follows from the steps: 32 of them here
    large.edit("config/runs/large.yaml", "resources:", "tracking: {save_steps: 7, save_total_limit: 2}\nresources:")
    large.edit("config/runs/large.yaml", "num_train_epochs: 2", "max_steps: 32")
    assert quoted(large)["bytes"] == {
        "disk": read + 2 * weights + 3 * 12 * weights // 2,
        "download": 2 * read,
        "upload": 2 * weights + 5 * 12 * weights,
    }
    table = succeeded(large.snakemake("-n", "--config", "runs=large")).stderr
    assert re.search(r"29\.0 of 1,152 GiB +177 GB +32\.1 GB in, 498 GB out", table), table
    # a machine with less is told of; here nothing goes over a network
    large.edit("config/runs/large.yaml", two, "ml.g5.xlarge")
    table = succeeded(large.snakemake("-n", "--config", "runs=large")).stderr
    assert "warning: train-large: ml.g5.xlarge has too little main memory, 16.7 of 16 GiB at its peak" in table
    large.edit("config/runs/large.yaml", "{instance_type: ml.g5.xlarge}", "{}")
    found = quoted(large)
    assert found["bytes"]["disk"] > 100e9 and found["bytes"]["download"] == found["bytes"]["upload"] == 0


def test_a_model_of_unknown_sizes_is_said_to_be_so(large: Clone):
    large.write("config/models/big.yaml", MODEL[: MODEL.index("shape:")])
    found = quoted(large)
    assert found["gpu_memory_gib"] is None and found["seconds"] is None
    said = "the sizes of big are not known before it is here: config/models/big.yaml has no `shape:`"
    assert said in found["unknown"]


def test_spot_capacity_is_quoted_from_own_jobs_else_as_stated_and_a_month_has_a_budget(large: Clone):
    large.edit("config/runs/large.yaml", "deepspeed: zero2", "deepspeed: zero3")
    read = "page: 'https://example.org/prices', read: 2026-11-29"
    large.write(
        "config/prices.yaml",
        f"eu-west-1:\n  ml.p4d.24xlarge: {{usd_per_hour: 30, {read}}}\n  spot: {{share_of_on_demand: 0.5, {read}}}\n",
    )
    found = quoted(large)
    assert found["usd_spot"] == {
        "expected": pytest.approx(found["usd_on_demand"] / 2, abs=0.01), "source": "50%, stated in config/prices.yaml"
    }  # fmt: skip
    attempt = {"instance_type": "ml.p4d.24xlarge", "instance_count": 1, "cost_usd": 90.0}
    attempt |= {"created": f"{datetime.now(UTC):%Y-%m}-01T00:00:00+00:00"}
    tries = [{"spot": True, "training_seconds": 900, "billable_seconds": 300}, {"spot": False, "billable_seconds": 600}]
    tries.append({"spot": True, "training_seconds": 100, "billable_seconds": 100})
    large.write(".heirloom/costs/train-x.json", json.dumps({"attempts": [attempt | each for each in tries]}))
    found = quoted(large)
    assert found["usd_spot"] == {
        "expected": pytest.approx(found["usd_on_demand"] * 0.4, abs=0.01),
        "source": "40%, as 2 own attempts were billed",
    }
    done = succeeded(large.snakemake("-n", "--config", "runs=large", "month_budget=271"))
    on_demand = found["usd_on_demand"]
    assert done.stderr.splitlines()[-1] == (
        f"error: --config month_budget is $271, $270 of {datetime.now(UTC):%Y-%m} are billed, and train-large would "
        f"take ${on_demand:.2f}: raise it, or select fewer runs"
    )
    assert f"${on_demand:.2f}, spot ≈ ${on_demand * 0.4:.2f}" in done.stderr
    done = succeeded(large.snakemake("-n", "--config", "runs=large", f"month_budget={271 + round(on_demand)}"))
    assert "month_budget" not in done.stderr


def test_nodes_of_a_cluster_have_memory_hours_and_a_price_once_a_profile_says_what_they_are(large: Clone):
    large.edit("config/runs/large.yaml", "instance_type: ml.p4d.24xlarge", "nodes: 1, gpus_per_node: 8")
    assert quoted(large)["gpu_memory_gib"] is None
    profile = "config: [gpu=A100-40GB, usd_per_gpu_hour=2]\n"
    large.write("ours/config.yaml", profile)
    lines = succeeded(large.snakemake("-n", "--profile", "ours", "--config", "runs=large")).stderr.splitlines()
    row = next(line for line in lines if line.startswith("  train "))
    expected = re.search(
        r"node with 8 × A100-40GB  ≈ 64 .* ([\d.]+) – ([\d.]+) – ([\d.]+)  \$([\d.]+) .*does not fit", row
    )
    assert expected and float(expected[4]) == pytest.approx(float(expected[2]) * 16, rel=0.1), row
    remedy = next(
        line for line in lines if line.startswith("error: train-large: node with 8 × A100-40GB has too little")
    )
    assert "deepspeed: zero3 takes" in remedy and "instance_type" not in remedy
    large.write("ours/config.yaml", profile.replace("A100-40GB", "A100-40"))
    done = large.snakemake("-n", "--profile", "ours")
    assert "--config gpu=A100-40: no card whose memory is known here; did you mean A100-40GB?" in done.stderr


def test_cards_are_looked_at_before_any_row_is_here_and_what_is_not_known_is_said(large: Clone):
    """Rows of a file that is not there yet are as long as max_length says; how many steps there are nobody knows."""
    known = quoted(large)
    (large.folder / "config/large.jsonl").unlink()
    large.edit("config/datasets/large.yaml", "path: config/large.jsonl", "hub: someone/rows, revision: " + "b" * 40)
    found = quoted(large)
    assert found["gpu_memory_gib"] == known["gpu_memory_gib"] and not found["gpu_memory_gib"]["fits"]
    assert (found["steps"], found["bytes"], found["seconds"]) == (None, None, None)
    assert "how many checkpoints it keeps is not known before its rows are counted" in found["unknown"]
    large.edit("config/runs/large.yaml", "num_train_epochs: 2", "max_steps: 10")
    found = quoted(large)
    assert (found["steps"], found["seconds"]) == (10, None)
    assert not any("checkpoints" in said for said in found["unknown"])


def test_a_budget_can_be_held_before_anything_has_run(large: Clone):
    """Answers and scores of a first run have hours too: 40 prompts lie in a file, of which 25 are asked for."""
    large.write("config/prompts.jsonl", '{"prompt": "Say it."}\n' * 40)
    large.edit("config/datasets/large.yaml", "packed: true", "packed: true, test_rows: 50")
    more = (
        "generation: {prompts_file: config/prompts.jsonl, limit: 25, max_new_tokens: 100}\n"
        "evaluation: {metrics: [perplexity]}\nplan: {budget: 500}\n"
    )
    large.edit("config/runs/large.yaml", "resources:", f"{more}resources:")
    large.edit("config/runs/large.yaml", "deepspeed: zero2", "deepspeed: zero3")
    price = "{usd_per_hour: 30, page: 'https://example.org/prices', read: 2026-11-29}"
    large.write("config/prices.yaml", f"eu-west-1:\n  ml.p4d.24xlarge: {price}\n")
    stages = {stage["stage"]: stage for stage in quoted(large)["stages"]}
    assert stages.keys() == {"train-large", "generate-large", "evaluate-large"}
    for name in ("generate-large", "evaluate-large"):
        seconds = stages[name]["seconds"]
        assert seconds["source"] == "the memory's bandwidth and the GPUs' peak"
        assert 360 < seconds["expected"] < 400  # a job's start, and seconds of work
        assert stages[name]["usd_on_demand"] == pytest.approx(seconds["expected"] / 120, abs=0.02)
    done = succeeded(large.snakemake("-n", "--config", "runs=large", "budget=1"))
    assert (
        "error: --config budget is $1.00, and train-large, generate-large, evaluate-large would take $" in done.stderr
    )
    assert "plan.budget" not in done.stderr


def test_what_a_base_answers_for_several_runs_is_counted_once(large: Clone):
    compared = "generation: {prompts_file: config/prompts.jsonl}\nevaluation: {metrics: [token_counts], base: true}\n"
    large.write("config/prompts.jsonl", '{"prompt": "one"}\n' * 40)
    large.edit("config/runs/large.yaml", "resources:", f"{compared}resources:")
    other = (large.folder / "config/runs/large.yaml").read_text().replace("num_train_epochs: 2", "num_train_epochs: 3")
    large.write("config/runs/more.yaml", other.replace("ml.p4d.24xlarge", "ml.p4de.24xlarge"))
    found = json.loads(succeeded(large.pipeline("plan", "--json", "--runs", "large,more")).stdout)
    stages = {run["run"]: [stage["stage"].partition("-")[0] for stage in run["stages"]] for run in found["runs"]}
    assert stages == {"large": ["baseline", "train", "generate", "evaluate"], "more": ["train", "generate", "evaluate"]}
    baseline = found["runs"][0]["stages"][0]
    assert baseline["stage"].startswith("baseline-big-on-prompts-") and baseline["machine"] == "ml.p4d.24xlarge"
    assert baseline["seconds"]["expected"] > 0
    # selected alone, the other run needs it, too; it stays with the first
    found = json.loads(succeeded(large.pipeline("plan", "--json", "--runs", "more")).stdout)
    assert {run["run"]: len(run["stages"]) for run in found["runs"]} == {"large": 1, "more": 3}
    table = succeeded(large.pipeline("plan", "--runs", "large,more")).stdout
    assert "run     large: baseline, train, generate, evaluate, report " in table, table


def test_a_branch_says_what_it_adds_to_another_commit(large: Clone):
    large.edit("config/runs/large.yaml", "deepspeed: zero2", "deepspeed: zero3")
    price = "{usd_per_hour: 30, page: 'https://example.org/prices', read: 2026-11-29}"
    large.write("config/prices.yaml", f"eu-west-1:\n  ml.p4d.24xlarge: {price}\n")
    large.pipeline("write")
    large.commit("one run")
    run = (large.folder / "config/runs/large.yaml").read_text()
    large.write("config/runs/more.yaml", run.replace("num_train_epochs: 2", "num_train_epochs: 3"))
    done = succeeded(large.pipeline("plan", "--commit", "main", "--json"))
    stages = {each["stage"]: each for one in json.loads(done.stdout)["runs"] for each in one["stages"]}
    more = stages["train-more"]
    seconds = {key: more["seconds"][key] for key in ("low", "expected", "high")}
    none = {"stages": [], "seconds": dict.fromkeys(seconds, 0), "usd_on_demand": None, "unknown": 0}
    added = {"stages": ["train-more"], "seconds": seconds, "usd_on_demand": more["usd_on_demand"], "unknown": 0}
    assert json.loads(done.stdout)["against"] == {"commit": "main", "added": added, "removed": none}
    assert "train-large" in stages  # it is to be made there as well
    (large.folder / "config/runs/large.yaml").unlink()
    lines = succeeded(large.pipeline("plan", "--commit", "main")).stdout.splitlines()
    sums = r"at main: 1, [\d.]+( – [\d.]+){2} hours, \$[\d.]+ on demand"
    assert re.fullmatch(rf"more than {sums} \(train-more\)", lines[-2]), lines
    assert re.fullmatch(rf"less than {sums} \(train-large\)", lines[-1]), lines
    assert large.git("status", "--porcelain").split() == ["D", "config/runs/large.yaml", "??", "config/runs/more.yaml"]
    done = large.pipeline("plan", "--commit", "nowhere")
    assert done.returncode == 1 and "error: nowhere: git knows no such commit here" in done.stderr
    large.write("config/runs/more.yaml", "base: nothing\n")
    large.git("checkout", "-q", "-b", "broken")
    large.commit("broken")
    large.write("config/runs/more.yaml", run)
    done = large.pipeline("plan", "--commit", "broken")
    assert done.returncode == 1 and "error: COMMIT=broken: its own code makes no plan of it: " in done.stderr
    assert "config/runs/more.yaml" in done.stderr and done.stderr.count("error:") == 1
    large.edit("workflow/pipeline/__main__.py", 'plan.add_argument("--json"', 'plan.add_argument("--other"')
    large.commit("older")
    large.git("checkout", "-q", "main")
    done = large.pipeline("plan", "--commit", "broken")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        "error: COMMIT=broken: its own code knows no --json yet, so nothing is compared with it: name a later commit"
    )
    large.git("checkout", "-q", "--orphan", "before")
    large.git("rm", "-rqf", "--cached", "workflow")
    large.git("commit", "-q", "-m", "before")
    large.git("checkout", "-qf", "main")
    done = large.pipeline("plan", "--commit", "before")
    assert done.returncode == 1 and "error: COMMIT=before: it has no workflow/pipeline, which would" in done.stderr


def test_selected_runs_are_compared_with_the_same_runs_of_the_other_commit(large: Clone):
    run = (large.folder / "config/runs/large.yaml").read_text()
    large.write("config/runs/off.yaml", "enabled: false\n" + run)
    large.pipeline("write")
    large.commit("large")
    large.write("config/runs/more.yaml", run.replace("num_train_epochs: 2", "num_train_epochs: 3"))
    large.write("config/runs/off.yaml", run)

    def against(runs: str) -> tuple[list[str], list[str]]:
        done = succeeded(large.pipeline("plan", "--commit", "main", "--json", "--runs", runs))
        found = json.loads(done.stdout)["against"]
        return found["added"]["stages"], found["removed"]["stages"]

    assert against("large") == ([], [])
    assert against("more") == (["train-more"], [])
    assert against("more, l*,off") == (["train-more", "train-off"], [])
    for words, said in {
        ("--commit", ""): "--commit: expected a git revision, as main; it is empty: ",
        ("--commit", "main", "--stages"): "--stages and --commit: a list of stages is compared with nothing: ",
    }.items():
        done = large.pipeline("plan", *words)
        assert done.returncode == 1 and done.stderr.startswith(f"error: {said}") and done.stdout == ""


def test_a_hook_of_git_may_compare_and_its_commit_stays_as_it_was(large: Clone):
    """Git tells its hooks which index and which repository they are of; the clone is another one."""
    large.pipeline("write")
    large.commit("large")
    large.edit("config/runs/large.yaml", "num_train_epochs: 2", "num_train_epochs: 3")
    large.git("add", "-A")
    index = large.folder / ".git/index"
    before = index.read_bytes()
    here = {"GIT_DIR": str(large.folder / ".git"), "GIT_WORK_TREE": str(large.folder)}
    for variables in ({"GIT_INDEX_FILE": str(index)}, here):
        words = (sys.executable, "workflow/pipeline", "plan", "--commit", "HEAD")
        assert "more than at HEAD: none" in succeeded(large.run(*words, **variables)).stdout
        assert index.read_bytes() == before
    place = large.folder.parent / "linked"
    large.git("worktree", "add", "-q", "-b", "linked", str(place))
    hook = large.folder / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexec python workflow/pipeline plan --commit HEAD\n")
    hook.chmod(0o755)
    linked = Clone(place, large.home)
    linked.edit("config/runs/large.yaml", "num_train_epochs: 2", "num_train_epochs: 4")
    said = succeeded(linked.run("git", "commit", "-a", "-m", "longer"))
    assert "more than at HEAD: none" in said.stdout + said.stderr
    assert linked.git("show", "--format=", "--name-only").split() == ["config/runs/large.yaml"]
    assert linked.git("status", "--porcelain") == ""
