"""Whole runs of `snakemake --executor sagemaker`: what a job is given, what comes back, what is recorded."""

import json

import pytest

from running import BUCKET, Workflow

RULES = """
    rule all:
        input: "out/folder", "copy.txt"

    rule make:
        input: "given.txt"
        output: directory("out/folder")
        log: "logs/make.log"
        resources: instance_type="ml.g5.xlarge", record="records/{rule}.json", tags="team=blue"
        script: "scripts/make.py"

    rule copy:
        input: "out/folder"
        output: "copy.txt"
        benchmark: "bench/copy.tsv"
        resources: return_files="extra.txt"
        shell: "cat {input}/a.txt > {output}; echo extra > extra.txt;"
               "echo extra.txt > $SNAKEMAKE_SAGEMAKER_RETURN_FILES"
"""


def test_a_workflow_without_any_storage_plugin(loopback, bucket, aws, tmp_path):
    workflow = Workflow(tmp_path / "work", RULES)
    (workflow.folder / "given.txt").write_text("given\n")
    scripts = workflow.folder / "scripts"
    scripts.mkdir()
    (scripts / "make.py").write_text(
        "import os, pathlib\n"
        "folder = pathlib.Path(snakemake.output[0])\n"
        "(folder / 'deep/empty').mkdir(parents=True)\n"
        "(folder / 'a.txt').write_text(open(snakemake.input[0]).read() + os.environ['MODE'])\n"
        "(folder / 'deep/run.sh').write_text('true'); (folder / 'deep/run.sh').chmod(0o755)\n"
        "open(snakemake.log[0], 'w').write('made on ' + os.environ['SM_CURRENT_HOST'])\n"
    )
    code, output = workflow.run(environment=["MODE=fast"], prices=["ml.g5.xlarge=3.6"])
    assert code == 0, output
    assert workflow.text("copy.txt") == "given\nfast"
    assert workflow.text("logs/make.log").startswith("made on ")
    assert workflow.text("extra.txt") == "extra\n"
    assert workflow.text("bench/copy.tsv").startswith("s\t")
    folder = workflow.folder / "out/folder/deep"
    assert (folder / "empty").is_dir()
    assert (folder / "run.sh").stat().st_mode & 0o111

    [copy] = workflow.records()
    assert copy["rule"] == "copy"
    assert copy["cost_usd"] is None  # no price for ml.m5.xlarge
    record = json.loads(workflow.text("records/make.json"))
    assert record["cost_usd"] == pytest.approx(record["billable_seconds"] * 3.6 / 3600)
    assert record["attempts"][0]["instance_type"] == "ml.g5.xlarge"

    request = loopback.jobs[record["attempts"][0]["training_job"]].request
    assert {"Key": "team", "Value": "blue"} in request["Tags"]
    assert "CheckpointConfig" not in request

    # a storage plugin that is merely installed here may be missing in the image
    job_files = [data for data in aws.objects(BUCKET, "project/objects/").values() if data.startswith(b"{")]
    assert len(job_files) == 2
    assert not any(b"--storage-s3" in data for data in job_files)

    kinds = {key.split("/")[1] for key in aws.objects(BUCKET)}
    assert kinds == {"objects", "results"}

    code, output = workflow.run()
    assert "Nothing to be done" in output
    assert len(loopback.jobs) == 2
