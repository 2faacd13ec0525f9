"""The three training scripts, launched for real on two ranks: results, repeatability, ZeRO-2 and ZeRO-3."""

import csv
import json
import math

import pytest
import torch
from datasets import load_from_disk
from training_workplace import ROOT, RUNS, UNWATCHED, training_command, tree
from transformers import AutoModelForCausalLM, AutoTokenizer


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_each_stage_learns_and_says_so(runs):
    folder, said = runs
    for name in ("pretrain", "sft"):
        measured = metrics(folder / name)
        assert measured["after"]["loss"] < measured["before"]["loss"] - 0.5
        assert measured["after"]["perplexity"] == pytest.approx(math.exp(measured["after"]["loss"]), rel=1e-4)
    preferred = metrics(folder / "dpo")
    assert preferred["before"]["loss"] == pytest.approx(math.log(2), abs=1e-4)  # the reference is the base
    assert preferred["after"]["rewards_accuracies"] > 0.9
    assert "step 12/12  loss" in said["pretrain"] and "tokens/s" in said["pretrain"]
    assert "\r" not in said["pretrain"] and "Warning" not in said["sft"], said["sft"]


def test_the_loss_curve_has_a_row_a_step(runs):
    rows = list(csv.DictReader((runs[0] / "pretrain" / "loss.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(13))
    assert rows[0]["loss"] == "" and float(rows[0]["eval_loss"]) > float(rows[12]["eval_loss"])
    assert float(rows[12]["loss"]) < float(rows[1]["loss"])


@pytest.mark.parametrize("name", ["sft", "dpo"])  # test_resuming.py compares two of pretrain
def test_a_second_run_gives_the_same_bytes_however_it_is_watched(workplace, runs, name):
    workplace.launch(*training_command(workplace, name, f"again/{name}", UNWATCHED))
    first, second = tree(runs[0] / name), tree(workplace.folder / "again" / name)
    assert {file: len(content) for file, content in first.items()} == {f: len(c) for f, c in second.items()}
    assert first == second


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_zero3_trains_the_same_model_and_saves_it_whole(runs, zero3_runs, name):
    sharded = AutoModelForCausalLM.from_pretrained(zero3_runs / name / "checkpoint").state_dict()
    whole = AutoModelForCausalLM.from_pretrained(runs[0] / name / "checkpoint").state_dict()
    assert sharded.keys() == whole.keys()
    for parameter, value in whole.items():
        torch.testing.assert_close(sharded[parameter], value, atol=2e-3, rtol=0.0)


def test_held_out_loss_is_the_mean_over_tokens(workplace, runs):
    """Compared with transformers' own loss of each row alone; 11 rows do not divide by 2 ranks of 4."""
    folder = runs[0] / "sft" / "checkpoint"
    model = AutoModelForCausalLM.from_pretrained(folder)
    total = tokens = 0
    for row in load_from_disk(str(workplace.folder / "chat" / "test")):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        trained_on = int((labels[:, 1:] != -100).sum())
        with torch.no_grad():
            total += model(input_ids=ids, labels=labels).loss.item() * trained_on
        tokens += trained_on
    assert metrics(runs[0] / "sft")["after"]["loss"] == pytest.approx(total / tokens, rel=1e-5)


def test_a_checkpoint_holds_what_inference_needs_and_nothing_of_this_machine(workplace, runs):
    for name in RUNS:
        checkpoint = runs[0] / name / "checkpoint"
        files = tree(checkpoint)
        assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
        assert not any(file.endswith((".bin", ".pt", ".md")) for file in files)
        everything = b"".join(tree(runs[0] / name).values())
        assert str(workplace.folder).encode() not in everything and str(ROOT).encode() not in everything
        assert json.loads(files["heirloom.json"])["steps"] == 12
        assert json.loads(files["config.json"])["use_cache"] is True
        assert files["tokenizer.json"] == (workplace.folder / "tokenizer" / "tokenizer.json").read_bytes()
        assert files["model.safetensors"].count(b"lm_head") == 0  # tied to the embedding, so saved once
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert AutoModelForCausalLM.from_pretrained(checkpoint).config.vocab_size == len(tokenizer)


def test_nothing_is_left_behind(workplace, runs):
    leftovers = [path.name for path in runs[0].rglob(".*")]
    assert leftovers == []
