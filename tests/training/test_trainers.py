"""The three training scripts, launched for real on two ranks: results, repeatability, ZeRO-2 and ZeRO-3."""

import csv
import importlib.metadata
import json
import math
import re
import subprocess

import pytest
import torch
import yaml
from datasets import load_from_disk
from training_workplace import ROOT, RUNS, TRAINING, UNWATCHED, training_command, tree
from transformers import AutoModelForCausalLM, AutoTokenizer

from heirloom.content_hashes import content_hash


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
    line = r"step 12/12  loss \S+  lr \S+  512 tokens/step  \S+ tokens/s  memory \S+ GiB  0:00:00 left"
    assert re.search(line, said["pretrain"])
    assert "\r" not in said["pretrain"] and "Warning" not in said["sft"], said["sft"]


def test_the_loss_curve_has_a_row_a_step(runs):
    rows = list(csv.DictReader((runs[0] / "pretrain" / "loss.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(13))
    assert rows[0]["loss"] == "" and float(rows[0]["eval_loss"]) > float(rows[12]["eval_loss"])
    assert float(rows[12]["loss"]) < float(rows[1]["loss"])


def test_what_the_next_plan_learns_is_in_the_record_and_in_no_artifact(made_runs):
    """Steps, tokens, their seconds, and the memory of the largest process; nothing of a GPU on a CPU."""
    for name, script in (("pretrain", "train"), ("sft", "sft_train"), ("dpo", "dpo_train")):
        record = json.loads((made_runs / f".heirloom/records/{script}-checkpoint.json").read_text())
        told, train = record["measured"], metrics(made_runs / "runs" / name)["train"]
        assert told.keys() == {"steps", "tokens", "training_s", "process_gib"}
        assert (told["steps"], told["tokens"]) == (train["steps"], train["tokens"])
        assert 0 < told["training_s"] < record["seconds"] and 0.1 < told["process_gib"] < 5
        assert not [file for file in (made_runs / "runs" / name).rglob("*") if file.name == "measured.json"]


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
        assert not any(file.endswith((".bin", ".pt")) for file in files)
        everything = b"".join(tree(runs[0] / name).values())
        assert str(workplace.folder).encode() not in everything and str(ROOT).encode() not in everything
        assert json.loads(files["heirloom.json"])["steps"] == 12
        assert json.loads(files["config.json"])["use_cache"] is True
        assert files["tokenizer.json"] == (workplace.folder / "tokenizer" / "tokenizer.json").read_bytes()
        assert files["model.safetensors"].count(b"lm_head") == 0  # tied to the embedding, so saved once
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert AutoModelForCausalLM.from_pretrained(checkpoint).config.vocab_size == len(tokenizer)


def test_the_card_tells_what_a_checkpoint_was_made_from(workplace, runs):
    """Lineage, data, configuration and metrics; hashes as a shell computes them."""
    card = (runs[0] / "dpo" / "checkpoint" / "README.md").read_text()
    head, *sections = re.split(r"^## (.+)$", card, flags=re.MULTILINE)
    by_title = dict(zip(sections[::2], sections[1::2], strict=True))
    assert yaml.safe_load(head.split("---\n")[1]) == {"library_name": "transformers", "tags": ["heirloom", "dpo"]}
    assert "Trained from checkpoint on preference by `dpo` (trl.DPOTrainer): 12 optimizer steps" in head
    listing = "LC_ALL=C sha256sum *.safetensors | sha256sum"
    chain = [("model", workplace.folder / "model"), ("checkpoint", runs[0] / "pretrain" / "checkpoint")]
    lines = by_title["Base"].splitlines()
    for name, folder in [*chain, ("checkpoint", runs[0] / "sft" / "checkpoint")]:
        done = subprocess.run(["bash", "-c", listing], cwd=folder, capture_output=True, text=True, check=True)
        assert any(line.startswith(f"| {name} ") and done.stdout.split()[0] in line for line in lines)
    assert "`trainer` on text" in by_title["Base"] and "`sft` on chat" in by_title["Base"]
    rows = content_hash((workplace.folder / "preference" / "train").glob("*.arrow"))
    assert f"`{rows}`" in by_title["Data"]
    config = yaml.safe_load(by_title["Configuration"].split("```")[1].removeprefix("yaml"))
    assert config == {"deepspeed": "zero2", "training": TRAINING}
    after = metrics(runs[0] / "dpo")["after"]
    assert f"| {after['rewards_accuracies']} |" in by_title["Held-out rows"]
    assert f"trl {importlib.metadata.version('trl')}" in by_title["Versions"]


def test_nothing_is_left_behind(workplace, runs):
    leftovers = [path.name for path in runs[0].rglob(".*") if not path.match(".*.made")]
    assert leftovers == []
