"""`make rehearse`: a sound run passes, and each fault that `snakemake -n` cannot see is found, with its stage."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from training_workplace import chats
from warm_start import OF_STAGES, warm_ranks, warm_workflow
from working_tree import copy_working_tree

TRAINING = {"learning_rate": 1e-3, "global_batch_size": 128, "num_train_epochs": 3, "bf16": False}
SOUND = {
    "base": "tiny",
    "dataset": "chats",
    "trainer": "sft",
    "training": TRAINING,
    "peft": {"r": 4, "target_modules": "all-linear"},
    "generation": {"max_new_tokens": 16},
    "evaluation": {"metrics": ["exact_match", "my_metrics:length"]},
    "resources": {"instance_type": "ml.p4d.24xlarge", "instance_count": 2},
    "tracking": {"report_to": "wandb"},
}
ANSWERED = {"base": "sound", "dataset": "chats", "generation": {}, "evaluation": SOUND["evaluation"]}
PROCESSING = {"processing_function": "dummy_processing_function", "max_length": 64}
DATASET = {"tokenizer": "tiny", "source": {"path": "chats.jsonl"}, "processing": PROCESSING | {"test_rows": 20}}
REFUSING = DATASET | {"processing": DATASET["processing"] | {"chat_template": "refusing.jinja"}}
FAULTS = {
    "adapter": (SOUND | {"peft": {"r": 4, "target_modules": ["query_key_value"]}}, "train", "query_key_value"),
    "optimizer": (SOUND | {"training": TRAINING | {"optim": "schedule_free_adamw"}}, "train", "schedulefree"),
    "template": (SOUND | {"dataset": "template"}, "process", "no message may ask"),
    "columns": (SOUND | {"dataset": "columns"}, "process", "messages"),
    "tokens": (ANSWERED | {"generation": {"eos_tokens": "<|over|>"}}, "generate", "<|over|>"),
    "metric": (ANSWERED | {"evaluation": {"metrics": ["my_metrics:crash"]}}, "evaluate", "ZeroDivisionError"),
    "rewards": (
        SOUND | {"trainer": "grpo", "training": TRAINING | {"rewards": [{"function": "my_metrics:crash"}]}},
        *("rewards", "ZeroDivisionError"),
    ),
}
"""Name of a run → its file, the stage that fails, and a word of the reason."""


@pytest.fixture(scope="module")
def project(pristine, tmp_path_factory) -> Path:
    """A copy of this project with a sound run, those with faults, and a model without weights."""
    folder = tmp_path_factory.mktemp("rehearsed") / "project"
    copy_working_tree(folder, lambda name: not name.startswith(("config/", "docs/", "tests/", "benchmarks/")))
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    shutil.copytree(pristine / "model", folder / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    rows = [{"messages": prompt + answer} for prompt, answer in chats(60, 0)]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "pairs.jsonl").write_text('{"question": "Well?", "answer": "Well."}\n' * 30)
    (folder / "refusing.jinja").write_text("{{ raise_exception('no message may ask') }}")
    (folder / "my_metrics.py").write_text(
        "def length(rows):\n    return [len(row['completion']) for row in rows]\n\n\ndef crash(rows):\n    1 / 0\n"
    )
    files = {"models/tiny": {"source": {"path": "base"}}, "datasets/chats": DATASET, "datasets/template": REFUSING}
    files["datasets/columns"] = DATASET | {"source": {"path": "pairs.jsonl"}}
    files |= {"runs/sound": SOUND, **{f"runs/{name}": run for name, (run, _, _) in FAULTS.items()}}
    for name, content in files.items():
        (folder / "config" / name).with_suffix(".yaml").parent.mkdir(parents=True, exist_ok=True)
        (folder / "config" / name).with_suffix(".yaml").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def rehearsed(project) -> subprocess.CompletedProcess:
    """The rehearsal of the sound run, asked of Snakemake."""
    return typed(project, "-m", "snakemake", "--config", "rehearse=sound")


def typed(project: Path, *words: str) -> subprocess.CompletedProcess:
    """Run `python WORDS` in the project, libraries of its own and of the stages that it starts loaded before."""
    variables = {**os.environ, **warm_ranks(), "CUDA_VISIBLE_DEVICES": "", "WANDB_API_KEY": ""}
    python = warm_workflow(*OF_STAGES) / "python"
    return subprocess.run([python, *words], cwd=project, env=variables, capture_output=True, text=True, check=False)


def test_a_sound_run_passes_to_its_report(project, rehearsed):
    assert rehearsed.returncode == 0, rehearsed.stderr[-3000:]
    assert "sound: all 7 stages end well" in rehearsed.stdout
    assert "sound: reporting to wandb" in rehearsed.stdout  # what it could not rehearse
    place = project / ".heirloom/rehearsals/sound"
    assert (place / "reports/sound.html").is_file()
    assert not (project / "checkpoints").exists() and not (project / "dvc.lock").exists()
    config = json.loads((place / "models/tiny/config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (2, 64)


def test_snakemake_accepts_what_the_rehearsal_finds_and_knows_what_was_rehearsed(project, rehearsed):
    done = typed(project, "-m", "snakemake", "-n", "--config", "rehearse=required")
    assert done.returncode == 0, done.stderr[-3000:]
    said = "refused by rehearse=required: neither rehearsed nor executed as they are now: adapter, columns, metric, "
    assert said in done.stderr and "sound" not in done.stderr.partition(said)[2]
    done = typed(project, "-m", "snakemake", "--config", "rehearse=required", "runs=columns")
    assert done.returncode == 1 and "`make rehearse RUN=columns`" in done.stderr
    assert not (project / "dvc.lock").exists()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_before_anything_is_paid_for(project, rehearsed, name):
    _, kind, word = FAULTS[name]
    stage = f"{kind}-{name}"
    done = typed(project, "scripts/rehearse.py", name, "--folder", ".heirloom/rehearsals/sound")
    assert done.returncode == 1, done.stdout
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert sentence.startswith(f"error: rehearsing {name}: {stage} fails: "), sentence
    assert word in sentence, sentence
    log = sentence.partition("its log is ")[2].partition(";")[0]
    assert log.endswith(f"{stage}.log") and word in (project / log).read_text()
    assert sentence.endswith("and rehearse again: what went well is not made twice")
    assert "process-chats" not in done.stdout  # what is there and current is not made again


def test_an_unknown_run_is_told_at_once(project):
    done = typed(project, "scripts/rehearse.py", "soud")
    assert done.returncode == 1
    assert "no run is called soud; did you mean sound?" in done.stderr
