"""The plan ends with what it takes: steps, tokens, memory of the cards, hours, and what cannot fit."""

import json
import re

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
    assert 0 < seconds["low"] < seconds["expected"] < seconds["high"]


def test_a_model_of_unknown_sizes_is_said_to_be_so(large: Clone):
    large.write("config/models/big.yaml", MODEL[: MODEL.index("shape:")])
    found = quoted(large)
    assert found["gpu_memory_gib"] is None and found["seconds"] is None
    said = "the sizes of big are not known before it is here: config/models/big.yaml has no `shape:`"
    assert said in found["unknown"]
