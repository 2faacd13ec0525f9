"""Training scripts by hand, under plain torchrun: a run's file is enough, and any of its keys can be a flag."""

import json
import os
import subprocess
import sys

import pytest
from training_workplace import ROOT, TRAINING, environment, tree


def torchrun(workplace, script, *flags, check=True):
    """Run a script as the README shows it: two ranks, no launcher of ours."""
    words = ("-m", "torch.distributed.run", "--nproc-per-node", "2", str(ROOT / "scripts" / script))
    return workplace.run(*words, *flags, check=check).stdout


@pytest.fixture
def run_file(workplace, runs):
    """A run's file in the place and with the names that it has in a repository."""
    folder = workplace.folder
    (folder / "config" / "runs").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "processed").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    for link, target in (("data/processed/pairs", "preference"), ("checkpoints/first", "runs/sft/checkpoint")):
        if not (folder / link).exists():
            os.symlink(folder / target, folder / link)
    sections = {
        "training": {**TRAINING, "max_steps": 2},
        "peft": {"r": 4, "merge": True},
        "tracking": {"save_steps": 50},
    }
    file = folder / "config" / "runs" / "polite.yaml"
    file.write_text(json.dumps({"base": "first", "dataset": "pairs", "trainer": "dpo", **sections}))
    return "config/runs/polite.yaml"


def test_a_runs_file_is_enough_and_flags_override_its_keys(workplace, run_file):
    flags = ("--learning_rate", "2e-5", "--loss_type", "ipo", "--logging_steps", "1", "--warmup_steps", "0.5")
    said = torchrun(workplace, "unified_train.py", "--config", run_file, *flags)
    assert "step 1/2  loss" in said and "step 2/2  loss" in said
    files = tree(workplace.folder / "checkpoints" / "polite.by-hand")
    assert {"model.safetensors", "adapter/adapter_model.safetensors", "README.md"} <= files.keys()
    card = files["README.md"].decode()
    assert "learning_rate: 2.0e-05" in card and "loss_type" in card and "r: 4" in card
    assert "Trained from first on pairs by `dpo` (trl.DPOTrainer): 2 optimizer steps" in card


def test_a_script_without_torchrun_is_one_rank(workplace, runs):
    config = workplace.config("alone.yaml", training={**TRAINING, "max_steps": 2})
    flags = ("--config", config, "--dataset", "chat", "--base", "model", "--output", "alone/checkpoint")
    deepspeed = ("--deepspeed", str(ROOT / "config" / "deepspeed" / "zero2.json"))
    command = [sys.executable, str(ROOT / "scripts" / "sft_train.py"), *flags, *deepspeed]
    done = subprocess.run(command, cwd=workplace.folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "step 2/2  loss" in done.stdout, done.stderr


def script(workplace, name, *flags):
    """Run a script in one process; return its last line."""
    command = [sys.executable, str(ROOT / "scripts" / name), *flags]
    done = subprocess.run(command, cwd=workplace.folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_mistakes_on_the_command_line(workplace, run_file):
    unknown = script(workplace, "unified_train.py", f"--config={run_file}", "--learnin_rate", "1")
    assert unknown == "error: --learnin_rate: there is no such flag; did you mean --learning_rate?"
    wrong = script(workplace, "dpo_train.py", "--config", run_file, "--global_batch_size", "many")
    assert wrong.endswith("training.global_batch_size: expected a whole number, found the text 'many'")
    refused = script(workplace, "dpo_train.py", f"--config={run_file}", "--output_dir", "x")
    problem = "is set by the workflow: the rule gives the paths; delete it"
    assert refused == f"error: --output_dir: training.output_dir: {problem}"
    missing = script(workplace, "sft_train.py", "--config", run_file, "--dataset", "nowhere")
    assert "nowhere: is no processed dataset" in missing
    nothing = script(workplace, "unified_train.py")
    assert "needs --config" in nothing
    workplace.config("odd.yaml", trainer="dop")
    assert "dop is no trainer; did you mean dpo?" in script(workplace, "unified_train.py", "--config", "odd.yaml")
