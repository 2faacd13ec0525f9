"""What the user types, and what the workflow says."""

import re
from types import SimpleNamespace

import pytest
from clone import Clone, succeeded
from snakemake.cli import parse_args, parse_config
from snakemake.settings.types import DeploymentMethod, DeploymentSettings

from heirloom.errors import HeirloomError
from pipeline.graph import Graph, Stage
from pipeline.session.command_line import (
    container_image,
    reject_unknown_targets,
    reject_unsupported,
    workflow_settings,
)


def test_selecting_runs(fresh: Clone, tmp_path) -> None:
    clone = fresh.copy_to(tmp_path / "clone")
    chain = {"download-text", "tokenizer-tiny", "model-tiny", "process-text"}
    assert clone.snakemake_jobs("--config", "runs=other") == {*chain, "train-other", "report-other"}
    assert clone.snakemake_jobs("--config", "runs=oth*,pre") == {
        *chain, "train-other", "process-chats", "train-pre", "generate-pre", "evaluate-pre",
        "report-other", "report-pre",
    }  # fmt: skip
    done = clone.snakemake("-n", "--config", "runs=otter")
    assert "no run is called otter; there are other, pre, sft" in done.stderr
    clone.edit("config/runs/other.yaml", "base: tiny", "enabled: false\nbase: tiny")
    done = clone.snakemake("-n", "--config", "runs=other")
    assert "not enabled: set `enabled: true` in config/runs/other.yaml" in done.stderr


def test_a_broken_run_does_not_stop_another_that_is_selected(fresh: Clone, tmp_path) -> None:
    """Its stages stay in both of DVC's files; without a selection, and under `dvc repro`, all stops."""
    clone = fresh.copy_to(tmp_path / "clone")
    recorded = "  train-sft:\n    cmd: as it was\n"
    clone.write("dvc.lock", f"schema: '2.0'\nstages:\n{recorded}")
    described = stages_of_sft(clone)
    clone.edit("config/runs/sft.yaml", "trainer: sft", "trainer: stf")
    done = succeeded(clone.snakemake("--config", "runs=other", "--until", "download"))
    assert clone.executed() == ["download-text"]
    mistake = "config/runs/sft.yaml:3: trainer: expected"
    assert f"warning: {mistake}" in done.stderr
    assert len(described) == 3  # train, generate, report
    assert stages_of_sft(clone) == described
    lock = (clone.folder / "dvc.lock").read_text()
    assert recorded in lock and "  download-text:\n" in lock
    stopped = clone.dvc("repro")
    assert stopped.returncode != 0 and clone.executed() == []
    assert f"error: {mistake}" in stopped.stdout + stopped.stderr
    for words in ([], ["--runs", "sft"], ["--runs", "other,s*"]):
        assert f"error: {mistake}" in clone.pipeline("plan", *words).stderr


def stages_of_sft(clone: Clone) -> list[str]:
    """Return the lines that dvc.yaml has for each stage of the run `sft`."""
    text = (clone.folder / "dvc.yaml").read_text()
    return [match[0] for match in re.finditer(r"^  [a-z]+-sft:\n(?:    .*\n)*", text, re.MULTILINE)]


def test_forcing_a_stage(clone: Clone) -> None:
    assert clone.plan() == {}
    jobs = clone.snakemake_jobs("--config", "force=generate-sft")
    assert jobs == {"generate-sft", "report-sft"}
    succeeded(clone.snakemake("--config", "force=generate-sft"))
    assert clone.executed() == ["generate-sft"]
    clone.nothing_to_do()
    done = clone.snakemake("-n", "--config", "force=generate-soft")
    assert "no stage is called generate-soft" in done.stderr


def test_options_that_would_act_on_markers_are_refused_with_the_right_one(clone: Clone) -> None:
    done = clone.snakemake("-n", "-F")
    assert done.returncode != 0
    assert "snakemake --config force=STAGE" in done.stderr
    for option in (["-R", "train"], ["-f", "train"], ["--touch"], ["--executor", "touch"]):
        with pytest.raises(HeirloomError, match=r"snakemake --config force=STAGE"):
            reject_unsupported(parse_args(option)[1])
    with pytest.raises(
        HeirloomError, match="^--config run: not a setting of this workflow, which knows runs, force, da"
    ):
        workflow_settings({"run": "pre"}, parse_args(["--config", "run=pre"])[1])


@pytest.mark.parametrize("words", [["--cores", "0"], ["--cores", "-2"], ["-j", "0"], ["--jobs", "-3"]])
def test_numbers_with_which_nothing_could_start_are_refused(words) -> None:
    """Snakemake waits for ever with no core."""
    with pytest.raises(HeirloomError, match=rf"--(cores|jobs) {words[1]}: nothing could ever start; give 1 or more"):
        reject_unsupported(parse_args(words)[1])


def test_no_accelerator_at_all_is_refused() -> None:
    """Stages with ranks ask for one: Snakemake would wait for ever."""
    reject_unsupported(parse_args(["--resources", "accelerator=1", "mem_mb=5"])[1])
    with pytest.raises(HeirloomError, match="accelerator=0: stages with ranks, which ask for one, could never start"):
        reject_unsupported(parse_args(["--resources", "accelerator=0"])[1])


@pytest.mark.parametrize(
    ("typed", "settings"),
    [
        (["runs=1e3"], {"runs": "1e3"}),
        (["runs="], {"runs": ""}),
        (["runs=007", "force=a=b"], {"runs": "007", "force": "a=b"}),
        ([], {}),
    ],
)
def test_settings_are_the_text_that_was_typed(typed, settings, tmp_path, monkeypatch) -> None:
    """Snakemake reads `1e3` as a number, `007` as 7, and `runs=` as nothing, which would be all runs."""
    monkeypatch.chdir(tmp_path)
    words = ["--config", *typed] if typed else []
    assert workflow_settings(parse_config(typed), parse_args(words)[1]) == settings


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("config: [rums=sft]", "config: rums: not a setting of this workflow, which knows runs, force"),
        ("config: {rums: sft}", "config: rums: not a setting of this workflow, which knows runs, force"),
        ("config: 3", "config: expected a mapping of settings, found 3"),
        ("config: [runs=sft]", None),
    ],
)
@pytest.mark.parametrize("place", ["workflow/profiles/default", "profiles/mine", "mine"])
def test_a_setting_in_a_profile_is_told_with_its_file(place, content, said, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / place / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    name = None if place.endswith("default") else "mine"
    for options in (
        SimpleNamespace(profile=[], workflow_profile=name, config=["force=x"]),
        SimpleNamespace(profile=[str(file)], workflow_profile="none", config=["force=x"]),
    ):
        if said is None:  # what the command line says does not make a profile's settings forgotten
            assert workflow_settings({"force": "x"}, options) == {"runs": "sft", "force": "x"}
        else:
            with pytest.raises(HeirloomError) as caught:
                workflow_settings({}, options)
            assert str(caught.value).startswith(
                f"{options.profile[0] if options.profile else f'{place}/config.yaml'}: {said}"
            )


def test_a_target_that_snakemake_does_not_know_is_told_with_the_right_command(fresh: Clone) -> None:
    done = fresh.snakemake("-n", "train-sft")
    assert done.returncode != 0
    told = "is no target: `snakemake --config runs=sft --until train` brings train-sft up to date"
    assert f"train-sft {told}" in done.stderr
    graph = Graph({"train-sft": Stage("train", "sft", "", outs=("checkpoints/sft",))})
    for target, said in {
        "train-sft": f"train-sft {told}",
        "checkpoints/sft": f"checkpoints/sft {told}",
        "checkpoints/sft/": f"checkpoints/sft/ {told}",
        "chekpoints/sft": "there is nothing called chekpoints/sft; did you mean checkpoints/sft?",
    }.items():
        with pytest.raises(HeirloomError, match=f"^{re.escape(said)}"):
            reject_unknown_targets(parse_args(["-n", target])[1], graph)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "train is a rule for many stages: `snakemake --until train` brings them up to date"),
        (
            ["--until", "nowhere"],
            "no rule is called nowhere; there are: baseline, download, evaluate, gate, generate, harness",
        ),
        (["--omit-from", "trian"], "no rule is called trian; did you mean train?"),
    ],
)
def test_a_rule_is_no_target_and_a_name_of_none_is_told(words, said) -> None:
    with pytest.raises(HeirloomError, match=f"^{re.escape(said)}"):
        reject_unknown_targets(parse_args(words)[1], Graph({}))


def test_a_dataset_that_no_run_uses_is_told_with_the_program_that_shows_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config/datasets").mkdir(parents=True)
    (tmp_path / "config/datasets/mine.yaml").touch()
    for target in ("data/processed/mine", "data/processed/mine/", "process-mine", "data/raw/mine", "download-mine"):
        with pytest.raises(HeirloomError, match="no enabled run uses .* `python scripts/preview_dataset.py mine`"):
            reject_unknown_targets(SimpleNamespace(until=[], omit_from=[], targets=[target]), Graph({}))
    with pytest.raises(HeirloomError, match="there is nothing called data/processed/yours"):
        reject_unknown_targets(SimpleNamespace(until=[], omit_from=[], targets=["data/processed/yours"]), Graph({}))


def test_looking_writes_nothing_that_git_tracks(clone: Clone) -> None:
    clone.edit("config/runs/sft.yaml", "base: pre", "base: tiny")
    before = clone.git("status", "--short")
    for words in (["-n"], ["--lint"], ["--dag"], ["--list-rules"], ["--summary"]):
        clone.snakemake(*words)
    assert clone.git("status", "--short") == before
    assert clone.pipeline("check").returncode == 1
    assert (
        "dvc.yaml is out of step with config/ (changed: report-sft, train-sft): `make dvc.yaml`"
        in clone.pipeline("check").stderr
    )


def test_the_rules_are_lint_free_and_listed_with_what_they_do(fresh: Clone) -> None:
    done = fresh.snakemake("--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Train a run's base on its dataset" in fresh.snakemake("--list-rules").stdout


def test_every_mistake_in_the_config_is_told_at_once(clone: Clone) -> None:
    clone.edit("config/runs/sft.yaml", "learning_rate: 1e-5", "learning_rat: fast")
    clone.edit("config/runs/other.yaml", "base: tiny", "base: tyni")
    done = clone.snakemake("-n")
    assert done.returncode != 0
    assert "config/runs/sft.yaml:4" in done.stderr
    assert "learning_rate" in done.stderr
    assert "config/runs/other.yaml:1" in done.stderr
    assert "tiny" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_image_and_the_wish_for_it_come_together(clone: Clone) -> None:
    done = clone.snakemake("-n", "--sdm", "apptainer")
    assert "--sdm apptainer: name the image that stages run in: --config image=" in done.stderr
    workflow = SimpleNamespace(deployment_settings=DeploymentSettings())
    with pytest.raises(HeirloomError, match="stages run in an image only with --sdm apptainer; add it"):
        container_image(workflow, {"image": "docker://example.org/heirloom:1"}, None)
    clone.nothing_to_do()


def test_an_environment_that_no_rule_names_is_refused() -> None:
    methods = {DeploymentMethod.CONDA, DeploymentMethod.APPTAINER}
    workflow = SimpleNamespace(deployment_settings=DeploymentSettings(deployment_method=methods))
    with pytest.raises(HeirloomError, match="^--sdm conda: no rule names such an environment; stages run in the one "):
        container_image(workflow, {"image": "docker://example.org/heirloom:1"}, None)
