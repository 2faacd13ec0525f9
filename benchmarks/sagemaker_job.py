"""What a training job takes beside its work: one of a rule with `echo`, one of a stage with nothing to compute.

    python benchmarks/sagemaker_job.py [--executions 3] [--rules 3] [--until RULE] [--output FILE]

Both run on the loopback SageMaker of the executor plugin's tests, whose containers start at once, against moto's S3. A
job's seconds are those from its CreateTrainingJob to its end; real ones add minutes for an instance and its image. The
stages' programs are the stand-ins of tests/contract. Reported are medians over the jobs of all executions, and the
seconds of `snakemake -n` with nothing to do.
"""

import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from measuring import command_line, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "workflow" / "plugins" / "snakemake-executor-plugin-sagemaker"
TESTS = [ROOT / "tests" / folder for folder in ("", "sagemaker", "contract")]
sys.path[:0] = [str(path) for path in (*TESTS, PLUGIN / "tests", ROOT / "scripts", ROOT / "workflow")]
TARGET = 8.0
"""Seconds that a trivial job may take on two idle cores."""
ECHO = """
rule all:
    input: "RULES.txt"

rule job:
    output: "{n}.txt"
    input: lambda w: [f"{int(w.n) - 1}.txt"] if int(w.n) > 1 else []
    shell: "echo {wildcards.n} > {output}"
"""


def main() -> None:
    parser = command_line(__doc__, "sagemaker_job")
    parser.add_argument("--executions", type=int, default=3, help="of each workflow")
    parser.add_argument("--rules", type=int, default=3, help="that say `echo`, one after the other")
    parser.add_argument("--until", help="the last rule of the stages, as snakemake's --until; all without it")
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's server tells of each request
    facts = machine("snakemake", "dvc", "boto3", "moto")
    found: dict[str, list[float]] = {"rule with echo": [], "stage of the workflow": [], "snakemake -n": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.executions):
            place = Path(folder) / str(number)
            found["rule with echo"] += on_loopback(place / "rule", echo, options.rules)
            found["stage of the workflow"] += on_loopback(place / "stage", stages, options.until, found["snakemake -n"])
    medians = {name: round(statistics.median(seconds), 2) for name, seconds in found.items()}
    print(medians)
    claims = {
        name: {"target_s": TARGET, "measured_s": medians[name], "reached": medians[name] <= TARGET}
        for name in ("rule with echo", "stage of the workflow")
    }
    seconds = {name: [round(value, 2) for value in values] for name, values in found.items()}
    write_result(options.output, {"machine": facts, "seconds": seconds, "medians_s": medians, "claims": claims})


def on_loopback(place: Path, run: Callable, *arguments) -> list[float]:
    """Run a workflow in `place` on a SageMaker of its own; return the seconds of each job."""
    from clone import STAND_INS
    from cloud import BUCKET, PLUGIN_SOURCES, cloud_on_loopback

    place.mkdir(parents=True)
    image = {"PYTHONPATH": f"{PLUGIN_SOURCES}:{STAND_INS}", "TRACE": "/tmp/trace"}
    with cloud_on_loopback(image, hide=(str(place),)) as cloud:
        cloud.aws.client("s3").create_bucket(Bucket=BUCKET)
        run(place, cloud, *arguments)
        seconds = [job.ended - job.created for job in cloud.sagemaker.jobs.values()]
    print(run.__name__, [round(value, 1) for value in seconds], flush=True)
    return seconds


def echo(place: Path, cloud, rules: int) -> None:
    """Run so many rules that say `echo`, one after the other."""
    from cloud import BUCKET
    from policies import ROLE
    from running import Workflow

    workflow = Workflow(place / "work", ECHO.replace("RULES", str(rules)))
    with mock.patch.dict(os.environ, cloud.variables):
        code, said = workflow.run(s3_prefix=f"s3://{BUCKET}/jobs", role=ROLE)
    if code:
        raise RuntimeError(said)


def stages(place: Path, cloud, until: str | None, dry: list[float]) -> None:
    """Run stages with stand-ins for their programs, then measure what `snakemake -n` takes."""
    from clone import Clone
    from submitting import fill_in_profile, submit

    clone = Clone.create(place / "clone", place)
    fill_in_profile(clone.folder)
    clone.commit("the profile filled in")
    asked = ["--config", "runs=other", *(["--until", until] if until else [])]
    done = submit(clone, cloud, *asked)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr + cloud.logs())
    started = time.perf_counter()
    submit(clone, cloud, "-n", *asked)
    dry.append(time.perf_counter() - started)


if __name__ == "__main__":
    main()
