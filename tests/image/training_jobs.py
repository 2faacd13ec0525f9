"""Small workflows for `snakemake --executor sagemaker` whose jobs run from the image."""

from working_tree import REPOSITORY

PLUGIN_SOURCES = REPOSITORY / "workflow/plugins/snakemake-executor-plugin-sagemaker/src"

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
