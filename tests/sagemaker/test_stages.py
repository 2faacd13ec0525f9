"""Stages as SageMaker training jobs, whose data is on S3 and not on the submitting machine."""

import json
import os
import re
import signal
from pathlib import Path
from statistics import median

import pytest
from clone import Clone, succeeded
from cloud import BUCKET, Cloud
from loopback import SlowStart
from policies import PERSON
from submitting import PROFILE, start, submit, wait_until
from watched_page import watching

from pipeline.ledger.lockfile import read_lock
from pipeline.watch.failures import failures

HERE = ("download-text", "model-tiny")
AWAY = ("tokenizer-tiny", "process-text", "train-other", "report-other")


PRICES = """
eu-west-1: {ml.m5.large: {usd_per_hour: 3600.0, page: "https://example.org/made-up", read: 2026-11-30}}
"""
"""Made up: a dollar a second."""


def lock(clone: Clone) -> dict:
    """Return stage → entry as the clone's dvc.lock has it, but those of no rule, which any edit changes."""
    entries = read_lock(clone.folder / "dvc.lock")
    del entries["check-config"], entries["digest-code"]
    return entries


def test_each_stage_runs_where_the_profile_says_and_leaves_its_data_on_s3(made: Clone, cloud: Cloud) -> None:
    assert tuple(cloud.stages()[: len(AWAY)]) == AWAY
    assert lock(made).keys() == {*HERE, *AWAY}
    assert "CheckpointConfig" in cloud.request("train-other")
    assert "CheckpointConfig" not in cloud.request("process-text")
    (output,) = [out for out in lock(made)["train-other"]["outs"] if out["path"] == "checkpoints/other"]
    md5 = output["md5"]
    assert f"data/files/md5/{md5[:2]}/{md5[2:]}" in cloud.aws.objects(BUCKET, "data/")
    assert not (made.folder / "checkpoints").exists()
    assert not (made.folder / "data/processed").exists()


def test_small_results_the_log_the_record_and_the_cost_come_back(made: Clone) -> None:
    for file in ("metrics/training/other.json", "metrics/loss/other.csv", "metrics/data/text.json"):
        assert (made.folder / file).is_file(), file
    assert (made.folder / "logs/train-other.log").is_file()
    assert (made.folder / ".heirloom/throughput/train-other.csv").read_text() == "step,seconds\n1,0.5\n"
    record = json.loads((made.folder / ".heirloom/records/train-other.json").read_text())
    assert record["exit_code"] == 0
    assert record["commit"] == made.git("rev-parse", "HEAD").strip()
    cost = json.loads((made.folder / ".heirloom/costs/train-other.json").read_text())
    assert cost["attempts"][0]["instance_type"] == "ml.m5.xlarge"
    history = [json.loads(line) for line in (made.folder / ".dvc/history.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in history if row["record"]} >= {*HERE, *AWAY}


def test_the_submitting_machine_has_nothing_to_do_and_no_data(made: Clone, cloud: Cloud) -> None:
    done = succeeded(submit(made, cloud, "-n", "--config", "runs=other"))
    assert "Nothing to be done" in done.stdout + done.stderr
    assert "0 to run, 0 after them, 0 to restore, 6 up to date" in done.stderr
    dry = succeeded(made.dvc("repro", "--allow-missing", "--dry", *AWAY, **cloud.variables))
    assert "Running stage" not in dry.stdout
    changed = made.git("status", "--porcelain").split()[1::2]
    assert sorted(changed) == [".dvc/history.jsonl", "dvc.lock"]


def test_a_colleagues_clone_pulls_everything_and_has_nothing_to_do(clone: Clone, cloud: Cloud, tmp_path: Path) -> None:
    colleague = clone.clone_to(tmp_path / "colleague")
    (colleague.folder / ".dvc/config.local").unlink()
    succeeded(colleague.dvc("pull", *HERE, *AWAY, **cloud.variables))
    done = succeeded(colleague.snakemake("-n", "--config", "runs=other", **cloud.variables))
    assert "Nothing to be done" in done.stdout + done.stderr
    assert "up to date" in colleague.dvc("status", *HERE, *AWAY).stdout
    assert (colleague.folder / "checkpoints/other/content.txt").is_file()


def test_a_colleagues_clone_quotes_what_the_jobs_taught(clone: Clone, cloud: Cloud, tmp_path: Path) -> None:
    """Nothing but git's files is in the other clone: no record, no costs, no metrics."""
    file = "config/runs/other.yaml"
    clone.edit(file, "base: tiny\n", "base: tiny\nresources: {instance_type: ml.m5.xlarge}\n")
    clone.edit(file, "max_steps: 1", "max_steps: 3")
    seen = "page: 'https://example.org/prices', read: 2026-11-29"
    clone.write("config/prices.yaml", f"eu-west-1:\n  ml.m5.xlarge: {{usd_per_hour: 90, {seen}}}\n")
    clone.pipeline("write")
    clone.commit("three steps")
    colleague = clone.clone_to(tmp_path / "colleague")
    assert not (colleague.folder / ".heirloom").exists() and not (colleague.folder / "metrics").exists()
    here, there = (
        json.loads(succeeded(each.pipeline("plan", "--json", "--runs", "other")).stdout)["runs"][0]["stages"][0]
        for each in (clone, colleague)
    )
    assert here["stage"] == "train-other" and here["seconds"] == there["seconds"] and here["usd_on_demand"] > 0
    assert here["usd_on_demand"] == there["usd_on_demand"] and here["last_execution"] == there["last_execution"]
    lines = [json.loads(line) for line in (colleague.folder / ".dvc/history.jsonl").read_text().splitlines()]
    (found,) = [row["record"] for row in lines if row["stage"] == "train-other" and row["record"]]
    told = found["measured"]
    assert len(json.dumps(told)) <= 300 and told["instance"] == "ml.m5.xlarge" and told["count"] == 1
    assert told["process_gib"] > 0 and told["fetch_s"] >= 0 and told["push_s"] > 0 and told["billed_s"] >= 0
    last = there["last_execution"]
    assert last["tokens_per_second"] == 2 and (last["gpu_memory_gib"], last["utilization"]) == (12.5, 0.3)
    # the job's own start stands in place of what is assumed, and its steps take as long as three times the tokens
    starts = sorted(
        row["record"]["measured"]["start_s"]
        for row in lines
        if row["record"].get("measured", {}).get("start_s") is not None
    )
    assert 0 < median(starts) < 120
    assert (there["steps"], there["tokens"]) == (3, 96) and found["seconds"] < 16
    expected = 3 * 16 + told["push_s"] + median(starts)
    assert there["seconds"]["source"] == "its last execution"
    assert there["seconds"]["expected"] == pytest.approx(expected, abs=0.51)
    # what was expected is kept until the job is billed
    succeeded(submit(clone, cloud, "--config", "runs=other", "--until", "train"))
    kept = json.loads((clone.folder / ".heirloom/estimates/train-other.json").read_text())
    assert round(kept["seconds"]["expected"]) == here["seconds"]["expected"]
    costs = succeeded(clone.pipeline("costs")).stdout.splitlines()
    assert re.match(r"estimate of train-other: [\d.]+ h expected \(.*\), [\d.]+ h taken \([+-]\d+%\)", costs[-1])
    assert any(re.search(r"^kind   train .* h expected, .* h taken", line) for line in costs), costs


def test_both_engines_bring_the_data_here_when_asked_and_execute_nothing(clone: Clone, cloud: Cloud) -> None:
    clone.executed()
    done = succeeded(clone.dvc("repro", "--pull", "train-other", **cloud.variables))
    assert clone.executed() == [], done.stdout
    assert (clone.folder / "checkpoints/other/content.txt").is_file()
    succeeded(clone.snakemake("--config", "runs=other", **cloud.variables))
    assert clone.executed() == []
    assert "up to date" in clone.dvc("status", *HERE, *AWAY).stdout


def test_a_stage_that_fails_says_why_and_costs_no_earlier_result(
    clone: Clone, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lock(clone)["train-other"]
    clone.edit("config/runs/other.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    clone.edit(PROFILE, "# sagemaker-environment:", "sagemaker-environment: [FAIL=train-other]")
    done = submit(clone, cloud, "--config", "runs=other")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "this stage was told to fail" in said, said
    assert "\nneither rehearsed nor executed as they are now: other; `make rehearse RUN=other`" in done.stderr
    assert "this stage was told to fail" in (clone.folder / "logs/train-other.log").read_text()
    with monkeypatch.context() as place:
        place.chdir(clone.folder)
        (shown,) = failures(["train-other"])  # on the page of make watch, by what has come back
    assert "this stage was told to fail" in shown.sentence
    assert lock(clone)["train-other"] == before
    clone.edit("config/runs/other.yaml", "learning_rate: 2e-5", "learning_rate: 1e-5")
    done = succeeded(submit(clone, cloud, "-n", "--config", "runs=other"))
    assert "rehearse" not in done.stderr  # executed as it is
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_forced_stage_is_executed_again_and_what_stands_on_it_needs_no_gpu_to_see_that(
    clone: Clone, cloud: Cloud
) -> None:
    jobs = len(cloud.stages())
    before = lock(clone)
    clone.edit("config/runs/other.yaml", "base: tiny\n", "base: tiny\nresources: {instance_type: ml.g5.xlarge}\n")
    succeeded(submit(clone, cloud, "--config", "runs=other", "force=process-text", "--until", "train"))
    assert cloud.stages()[jobs:] == ["process-text", "train-other"]
    assert lock(clone) == before
    assert "process-text: started" in cloud.sagemaker.logs.text(cloud.job("process-text"))
    assert "train-other: up to date" in cloud.sagemaker.logs.text(cloud.job("train-other"))
    assert cloud.request("train-other")["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"


def test_missing_settings_are_told_at_once_before_anything_starts(pristine: Clone, cloud: Cloud) -> None:
    variables = {name: value for name, value in cloud.variables.items() if "REGION" not in name}
    for options in (["-n"], []):
        done = pristine.run("snakemake", "--profile", "sagemaker", *options, **variables, AWS_DEFAULT_REGION="")
        assert done.returncode != 0
        for key in ("role", "s3-prefix", "image", "region"):
            assert f"{PROFILE}: sagemaker-{key} is missing" in done.stderr
        assert "storage, which jobs on SageMaker cannot reach: set `url = s3://BUCKET/PREFIX`" in done.stderr
    assert not (pristine.folder / "dvc.lock").exists()


def test_what_passes_its_budget_or_cannot_fit_is_not_submitted(clone: Clone, cloud: Cloud) -> None:
    """32 layers of width 4096 in 32 bits are 20 bytes a weight, and there is no smaller batch than 1."""
    jobs = len(cloud.stages())
    clone.edit("config/models/tiny.yaml", "hidden_size: 8", "hidden_size: 4096")
    own = "base: tiny\nplan: {budget: 5}\nresources: {instance_type: ml.g5.xlarge}\n"
    clone.edit("config/runs/other.yaml", "base: tiny\n", own)
    done = submit(clone, cloud, "--config", "runs=other", "budget=7")
    assert done.returncode != 0 and len(cloud.stages()) == jobs
    assert "train-other: ml.g5.xlarge has too little memory, " in done.stderr
    assert "config/runs/other.yaml: plan.budget is $5.00, and what train-other will cost is not known" in done.stderr
    assert "--config budget is $7.00, and what train-other will cost is not known" in done.stderr


def test_settings_of_a_wrong_form_and_committed_credentials_are_refused(clone: Clone, cloud: Cloud) -> None:
    clone.edit(PROFILE, "sagemaker-role: arn:aws:iam::123456789012:role/heirloom", "sagemaker-role: heirloom")
    clone.write(".dvc/config", (clone.folder / ".dvc/config").read_text() + "    secret_access_key = made-up\n")
    clone.edit("config/runs/other.yaml", "base: tiny\n", "base: tiny\nresources: {max_wait: 60}\n")
    done = submit(clone, cloud, "-n", "--config", "here=download,everything")
    assert "here=everything: no kind of stage; there are download, tokenizer" in done.stderr
    done = submit(clone, cloud, "-n")
    assert f"{PROFILE}: sagemaker-role is 'heirloom'; expected the role" in done.stderr
    assert "config/runs/other.yaml:2: resources.max_wait: max_wait limits the wait for spot capacity" in done.stderr
    clone.edit("config/runs/other.yaml", "resources: {max_wait: 60}\n", "")
    done = submit(clone, cloud, "-n")
    assert ".dvc/config: the remote storage has secret_access_key" in done.stderr


def test_a_file_that_would_not_get_into_a_job_is_told_before(clone: Clone, cloud: Cloud) -> None:
    clone.edit("config/datasets/chats.yaml", "path: config/chats.jsonl", "path: data/mine.jsonl")
    clone.write("data/mine.jsonl", '{"messages": []}\n')
    done = submit(clone, cloud, "-n", "--config", "here=download")
    assert "data/mine.jsonl, read by process-chats, does not get into a job" in done.stderr
    assert "config: [here=process]" in done.stderr


def test_inputs_that_were_never_pushed_are_told_before_a_job_starts(clone: Clone, cloud: Cloud) -> None:
    jobs = len(cloud.stages())
    (out,) = [out for out in lock(clone)["model-tiny"]["outs"] if out["path"] == "models/tiny"]
    key = f"data/files/md5/{out['md5'][:2]}/{out['md5'][2:]}"
    s3 = cloud.aws.client("s3")
    content = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    clone.edit("config/runs/other.yaml", "learning_rate: 1e-5", "learning_rate: 5e-5")
    s3.delete_object(Bucket=BUCKET, Key=key)
    try:
        done = submit(clone, cloud, "--config", "runs=other")
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    assert (
        "models/tiny, an input of jobs, is not on the DVC remote: where it was made, `dvc push model-tiny`"
        in done.stderr
    )
    assert done.returncode != 0 and len(cloud.stages()) == jobs


def test_secrets_are_nowhere_but_in_the_job(clone: Clone, cloud: Cloud) -> None:
    token, password = "tok" + "en-of-the-hub-1", "pass" + "word-of-mine-2"
    key, own_key = cloud.permissions.variables[PERSON].values()
    store = cloud.aws.client("secretsmanager")
    arn = store.create_secret(Name="heirloom/hub", SecretString=json.dumps({"token": token}))["ARN"]
    clone.edit(PROFILE, "# sagemaker-environment:", f"sagemaker-environment: ['HF_TOKEN=secretsmanager:{arn}#token']")
    mine = f"['remote \"storage\"']\n    access_key_id = {key}\n    secret_access_key = {own_key}\n"
    clone.write(".dvc/config.local", mine)
    told = 'print("the token ends in", os.environ["HF_TOKEN"][-1], os.environ["HF_TOKEN"])'
    clone.edit("scripts/create_report.py", '__main__":', f'__main__":\n    {told}')
    done = succeeded(submit(clone, cloud, "--config", "runs=other", HF_TOKEN=token, MY_PASSWORD=password))
    assert "the token ends in 1 [secret]" in (clone.folder / "logs/report-other.log").read_text()
    sent = cloud.everything_sent()
    for secret in (token, password, own_key):
        assert secret.encode() not in sent
        assert secret not in done.stdout + done.stderr
    kept = [path for path in clone.folder.rglob("*") if path.is_file() and path.name != "config.local"]
    assert not [path for path in kept if token.encode() in path.read_bytes()]


def test_a_killed_controller_loses_nothing(clone: Clone, cloud: Cloud) -> None:
    jobs = len(cloud.stages())
    clone.edit("config/datasets/text.yaml", "max_length: 16", "max_length: 17")
    cloud.sagemaker.plan(SlowStart(job="train-other", seconds=5))
    controller = start(clone, cloud, "--config", "runs=other")
    wait_until(lambda: cloud.stages()[jobs:] == ["process-text", "train-other"], controller)
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    planned = succeeded(submit(clone, cloud, "-n", "--config", "runs=other"))
    assert not re.search(r"process-text|\btext: .*process", planned.stderr.partition("to run")[0]), planned.stderr
    cloud.sagemaker.wait(cloud.job("train-other"), 200)
    done = succeeded(submit(clone, cloud, "--config", "runs=other"))
    assert "Adopted training job" in done.stderr
    assert cloud.stages()[jobs:] == ["process-text", "train-other", "report-other"]


def test_ctrl_c_stops_the_job_that_the_page_has_shown(clone: Clone, cloud: Cloud) -> None:
    before = lock(clone)
    clone.edit("config/runs/other.yaml", "learning_rate: 1e-5", "learning_rate: 3e-5")
    clone.edit("config/runs/other.yaml", "base: tiny\n", "base: tiny\nresources: {instance_type: ml.m5.large}\n")
    clone.write("config/prices.yaml", PRICES)
    cloud.sagemaker.plan(SlowStart(job="train-other", seconds=600))
    jobs = len(cloud.stages())
    controller = start(clone, cloud, "--config", "runs=other")
    wait_until(lambda: len(cloud.stages()) > jobs, controller)
    with watching(clone.folder, clone.environment({})) as page:
        wait_until(lambda: page.state()["plan"] is None, controller)
        state = page.state()
        (job,) = state["jobs"]
        assert (job["stage"], job["job"]) == ("train-other", cloud.job("train-other"))
        assert re.fullmatch(r"submitted to SageMaker \d+ s ago", job["since"])
        assert re.fullmatch(r"at most \$[1-9]\d*\.\d\d so far, on demand", job["cost"])
        waiting = [row["stage"] for row in state["waiting"]["rows"]]
        assert "report-other" in waiting and "train-other" not in waiting
        assert (state["running"], state["nothing_runs"]) == ([], None)
        os.killpg(controller.pid, signal.SIGINT)
        said = controller.communicate(timeout=120)[0]
        assert page.state()["jobs"] == []
    assert controller.returncode != 0
    assert cloud.sagemaker.wait(cloud.job("train-other"))["TrainingJobStatus"] == "Stopped", said
    assert lock(clone) == before


def test_a_remote_in_a_folder_is_refused(clone: Clone, cloud: Cloud) -> None:
    clone.write(".dvc/config.local", "[core]\n    remote = here\n['remote \"here\"']\n    url = /srv/storage\n")
    done = submit(clone, cloud, "--config", "runs=other")
    assert done.returncode != 0
    assert "the DVC remote here is /srv/storage, which jobs on SageMaker cannot reach" in done.stderr


def test_a_result_that_returns_to_an_edited_config_is_found_again(clone: Clone, cloud: Cloud) -> None:
    jobs = len(cloud.stages())
    clone.edit("config/runs/other.yaml", "learning_rate: 1e-5", "learning_rate: 4e-5")
    cloud.sagemaker.plan(SlowStart(job="train-other", seconds=3))
    controller = start(clone, cloud, "--config", "runs=other", "--until", "train")
    wait_until(lambda: len(cloud.stages()) > jobs, controller)
    clone.edit("config/runs/other.yaml", "learning_rate: 4e-5", "learning_rate: 1e-5")
    said = controller.communicate(timeout=200)[0]
    assert controller.returncode == 0, said
    done = succeeded(submit(clone, cloud, "--config", "runs=other"))
    assert "Nothing to be done" in done.stdout + done.stderr
    clone.edit("config/runs/other.yaml", "learning_rate: 1e-5", "learning_rate: 4e-5")
    planned = succeeded(submit(clone, cloud, "-n", "--config", "runs=other"))
    assert "1 to run, 0 after them, 0 to restore, 5 up to date" in planned.stderr
    assert cloud.stages()[jobs:] == ["train-other"]
