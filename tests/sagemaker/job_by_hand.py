"""A training job as the plugin makes it for a rule, without Snakemake around the command: hosts start in no time."""

import json
import os
import re
import secrets
import shlex
import sys
from pathlib import Path
from typing import Any

import boto3
from cloud import BUCKET
from loopback import LoopbackSageMaker
from loopback.examples import request
from loopback.plugin import Aws
from snakemake_executor_plugin_sagemaker import jobfile
from snakemake_executor_plugin_sagemaker.archive import source_archive
from snakemake_executor_plugin_sagemaker.objects import ObjectStore
from snakemake_executor_plugin_sagemaker.request import CONTAINER_MODULE
from snakemake_executor_plugin_sagemaker.secrets import LeakGuard
from snakemake_executor_plugin_sagemaker.transfer import receive
from training_workplace import LAUNCH

PREFIX = f"s3://{BUCKET}/jobs"

STAGE = "train-x"
IDENTITY = "0123456789abcdef" * 4
LEDGER = "import sys\nassert sys.argv[1:4] == ['begin', '{stage}', '--']\nprint('''{answer}''')\n"
LIMIT = 600
SET_UP = "mkdir .heirloom; ln -s ${SM_ML_ROOT:-/opt/ml}/checkpoints .heirloom/work; export HEIRLOOM_KEEP_WORK=1\n"
UNTIL_NOW = "until [ -e .heirloom/now ]; do sleep 0.1; done"
"""A shell command that ends when a test says so, see `Job.now`."""
RELEASE = """
import sys; sys.path.append(sys.argv[1])
from heirloom.launcher.hosts import sagemaker
sagemaker.find().release_workers(sys.argv[2])
"""
FORGET = "{ rm -r .heirloom/work/*; " + shlex.join([sys.executable, "-c", RELEASE, str(LAUNCH.parent), STAGE]) + "; }"
"""What `workflow/pipeline/execution/training_job.py` does around the launcher in a project."""


class Job:
    """Runs `launch.py COMMAND` as stage STAGE in a copy of a folder on the first host; the others join."""

    def __init__(
        self,
        aws: Aws,
        loopback: LoopbackSageMaker,
        name: str,
        folder: Path,
        *command: str,
        results: tuple[str, ...] = (),
        restored: bool = False,
        hosts: int = 2,
        before: str = "",
    ) -> None:
        """`before`: a shell command that the first host runs first; `restored`: what the ledger says of the stage."""
        self.name, self.loopback, self.aws, self.results = name, loopback, aws, results
        self.store = ObjectStore(aws.client("s3"), PREFIX)
        answer = json.dumps({"identity": IDENTITY, "restored": restored, "products": [], "reads": {}, "gpus": None})
        ledger = folder / "workflow" / "pipeline" / "__main__.py"
        ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger.write_text(LEDGER.format(stage=STAGE, answer=answer))
        files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        launch = shlex.join([sys.executable, str(LAUNCH), *command])
        content = {
            "format": jobfile.FORMAT,
            "command": f"{SET_UP}{before}\nDVC_STAGE={STAGE} {launch}" + ("" if restored else f" && {FORGET}"),
            "worker_command": SET_UP + shlex.join([sys.executable, str(LAUNCH), "join", STAGE, *command]),
            "host_timeout": 120,
            "secret": secrets.token_hex(32),
            "checkpoints": name,
            "sources": self.store.put_bytes(source_archive(files, folder, LeakGuard({}))),
            "inputs": [],
            "results": list(results),
            "logs": [],
        }
        entry = (sys.executable, "-m", CONTAINER_MODULE, PREFIX, self.store.put_bytes(jobfile.encode(content)))
        self.client = boto3.client("sagemaker", endpoint_url=loopback.endpoint, region_name=os.environ["AWS_REGION"])
        training_job = request(
            name,
            *entry,
            ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": hosts, "VolumeSizeInGB": 30},
            StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200},
            EnableManagedSpotTraining=True,
            CheckpointConfig={"S3Uri": f"{PREFIX}/checkpoints/{name}"},
        )
        self.client.create_training_job(**training_job)

    def end(self) -> dict[str, Any]:
        """Wait until the job is over and return its description."""
        return self.loopback.wait(self.name, LIMIT)

    def wait_for_line(self, text: str) -> None:
        self.loopback.wait_for_line(self.name, text, LIMIT)

    @property
    def log(self) -> str:
        """What all hosts have printed."""
        return self.loopback.logs.text(self.name)

    def now(self) -> None:
        """End the wait of UNTIL_NOW on the first host, at the job's first start."""
        ml = self.loopback.root / "jobs" / self.name / "1" / "algo-1" / "ml"
        (ml / "input" / "data" / "workflow" / ".heirloom" / "now").touch()

    def transitions(self, status: str) -> int:
        """Return how often the job was in a secondary status."""
        return sum(step["Status"] == status for step in self.loopback.jobs[self.name].transitions)

    @property
    def prefix(self) -> str:
        """Where S3 keeps /opt/ml/checkpoints: the beginning of the keys."""
        return f"jobs/checkpoints/{self.name}/"

    def kept(self) -> list[str]:
        """Return the names of all files that S3 keeps of /opt/ml/checkpoints."""
        return sorted(key.removeprefix(self.prefix) for key in self.aws.objects(BUCKET, self.prefix))

    def newest_checkpoint(self) -> int:
        """Return the last step of which S3 keeps a file."""
        return max(int(step) for name in self.kept() for step in re.findall(r"/checkpoint-(\d+)/", name))

    def fetch_results(self, folder: Path) -> Path:
        """Put the results into a folder."""
        folder.mkdir()
        receive(json.loads(self.store.get_result(self.name))["files"], folder, self.store)
        return folder
