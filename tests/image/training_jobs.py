"""Small workflows for `snakemake --executor sagemaker` whose jobs run from the image."""

from working_tree import REPOSITORY

PLUGIN = REPOSITORY / "workflow/plugins/snakemake-executor-plugin-sagemaker"

PAIR = """
    rule facts:
        output: "facts.json"
        resources: instance_count=2, worker_command="echo up on $SM_CURRENT_HOST; sleep 600"
        script: "facts.py"
"""
FACTS = f"""\
import json, os, pathlib, sys
import torch
facts = {{
    "hosts": json.loads(os.environ["SM_HOSTS"]),
    "python": sys.executable,
    "torch": torch.__version__,
    "pid 1": pathlib.Path("/proc/1/cmdline").read_text().replace("\\0", " "),
    "sees the submitting machine": os.path.exists({str(REPOSITORY)!r}),
}}
pathlib.Path(snakemake.output[0]).write_text(json.dumps(facts))
"""

LONG = """
    rule long:
        output: "long.txt"
        resources: checkpoints=1
        script: "long.py"
"""
SAVES_ITS_CHECKPOINT = """\
import pathlib, signal, sys, time
def save(*_):
    time.sleep(1)
    pathlib.Path("/opt/ml/checkpoints/state").write_text("saved")
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
print("running", flush=True)
time.sleep(600)
"""

ABANDONING = """\
import sys, time
sys.path.insert(0, sys.argv[1])
import boto3
from loopback import LoopbackSageMaker
from loopback.examples import request
server = LoopbackSageMaker(container_image=sys.argv[2]).__enter__()
keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
client = boto3.client("sagemaker", endpoint_url=server.endpoint, **keys)
client.create_training_job(**request("left", "sh", "-c", "trap : TERM; echo up; while :; do sleep 600; done"))
server.wait_for_line("left", "up")
print(server.root, flush=True)
time.sleep(600)
"""
"""A program with a server and a running job: `python -c … FOLDER_OF_LOOPBACK IMAGE`; it prints the server's own."""
