"""The configuration that the repository ships: right, without training libraries, the big runs switched off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.code_closure import SCRIPTS, code_closure
from heirloom.config.project import load_project
from heirloom.estimates.fitting import fit_of
from heirloom.estimates.setups import hosts, longest_row, shape_and_dtype, trained_rows, training_setup
from heirloom.estimates.steps import Rows

ROOT = Path(__file__).resolve().parents[2]
BIG = {"llama3-base", "llama3-sft", "llama3-dpo", "llama3-orpo", "llama3-kto", "llama3-reward", "llama3-grpo"}
ONE_GPU = {"qwen3-sft", "qwen3-dpo", "llama3-qlora"}


def test_it_has_no_mistakes_and_keeps_the_big_runs_out_of_the_graph():
    project = load_project(ROOT, None)
    assert project.runs.keys() >= BIG | ONE_GPU
    assert not any(project.runs[name].enabled for name in BIG | ONE_GPU)
    assert not {run for run in project.runs if run.startswith("demo-")} & {
        name for name, run in project.runs.items() if not run.enabled
    }


def test_the_big_runs_are_what_the_readme_says():
    project = load_project(ROOT, None)
    machines = {name: project.runs[name].resources.machines("training") for name in BIG - {"llama3-base"}}
    rewarded = machines.pop("llama3-grpo")  # each GPU holds a reward model as well
    assert (rewarded.instance_type, rewarded.instance_count) == ("ml.p4de.24xlarge", None)
    types = {(machine.instance_type, machine.instance_count) for machine in machines.values()}
    assert types == {("ml.p4d.24xlarge", 2)}
    scoring = {project.runs[name].resources.machines(stage) for name in BIG for stage in ("generation", "evaluation")}
    assert {machine.instance_type for machine in scoring} == {"ml.g5.12xlarge"}
    assert project.root_model("llama3-dpo") == "llama3-8b"
    hubs = {project.datasets[name].source.hub for name in ("no-robots", "hh-helpful")}
    assert hubs == {"HuggingFaceH4/no_robots", "trl-internal-testing/hh-rlhf-helpful-base-trl-style"}


def test_what_is_for_one_gpu_asks_for_one():
    project = load_project(ROOT, None)
    for name in ONE_GPU:
        for stage in ("training", "generation", "evaluation"):
            machines = project.runs[name].resources.machines(stage)
            assert (machines.instance_type, machines.instance_count or 1, machines.gpus_per_node) == (
                "ml.g5.xlarge",
                1,
                1,
            )


@pytest.mark.parametrize("name", sorted(ONE_GPU | BIG - {"llama3-base"}))
def test_the_trainings_fit_their_gpus_with_a_tenth_to_spare(name: str):
    project = load_project(ROOT, None)
    run = project.runs[name]
    shape, saved = shape_and_dtype(run, project, ROOT)
    machines = hosts(run.resources.machines("training"))
    longest = longest_row(project.datasets[run.dataset], project)
    rows, _ = trained_rows(run, project, Rows(1000, 1000 * longest, longest, exact=False))
    fit = fit_of(training_setup(run, shape, saved, machines.ranks, rows.longest, ROOT), machines.instance)
    assert fit.fits and not fit.tight, str(fit)


def test_a_source_that_is_not_pinned_is_said():
    """Of one repository no commit is known here."""
    warned = {warning.file for warning in load_project(ROOT, None).dormant_warnings}
    assert warned == {f"config/examples/datasets/hh-helpful{name}.yaml" for name in ("", "-qwen3")}


def test_checking_imports_no_training_library():
    code = (
        "import sys; from pathlib import Path; from heirloom.config.project import load_project; "
        "import heirloom.estimates.fitting, heirloom.estimates.setups; "
        f"load_project(Path({str(ROOT)!r}), None); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert not loaded & {"torch", "transformers", "datasets", "trl", "peft", "numpy", "dvc", "snakemake", "jsonschema"}


SECTIONS = [path for path in (SCRIPTS / "heirloom/config/sections").glob("*.py") if "Section(" in path.read_text()]


@pytest.mark.parametrize("path", sorted(SECTIONS), ids=lambda path: path.stem)
def test_a_section_depends_on_no_other_section(path: Path):
    """A script that reads one section must not run again because another one gained a key."""
    assert not {*code_closure(path)} & {*SECTIONS} - {path}


@pytest.mark.parametrize("path", sorted((ROOT / "config/deepspeed").glob("zero?.json")), ids=lambda path: path.stem)
def test_deepspeed_files_leave_the_batch_to_the_run_and_compile_nothing(path: Path):
    settings = json.loads(path.read_text())
    assert settings["zero_optimization"]["stage"] == int(path.stem.removeprefix("zero"))
    batch = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    assert {settings[key] for key in batch} == {"auto"}
    assert settings["zero_allow_untested_optimizer"] is True
    assert "optimizer" not in settings
    assert not {"offload_optimizer", "offload_param"} & settings["zero_optimization"].keys()
