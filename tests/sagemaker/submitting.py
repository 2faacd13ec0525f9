"""What a user does and types to run stages on SageMaker."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from clone import Clone
from cloud import BUCKET, Cloud

PROFILE = "workflow/profiles/sagemaker/config.yaml"
SETTINGS = {
    "role": "arn:aws:iam::123456789012:role/heirloom",
    "s3-prefix": f"s3://{BUCKET}/jobs",
    "image": "registry.example/heirloom:1",
}
REMOTE = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://{BUCKET}/data\n"


def fill_in_profile(folder: Path) -> None:
    """Take the comment marks off the profile's settings and point DVC's remote at S3, as docs/sagemaker.md says."""
    text = (folder / PROFILE).read_text()
    for name, value in SETTINGS.items():
        text, count = re.subn(rf"^# sagemaker-{name}: \S+", f"sagemaker-{name}: {value}", text, flags=re.MULTILINE)
        assert count == 1, f"{PROFILE} has no line for sagemaker-{name}"
    (folder / PROFILE).write_text(re.sub(r"(seconds-between-status-checks): \d+", r"\1: 1", text))
    (folder / ".dvc/config").write_text(REMOTE)
    (folder / ".dvc/config.local").unlink(missing_ok=True)


def submit(clone: Clone, cloud: Cloud, *options: str, **variables: str) -> subprocess.CompletedProcess:
    """Type `snakemake --profile sagemaker`, and wait for its end."""
    return clone.snakemake("--profile", "sagemaker", *options, **cloud.variables, **variables)


def start(clone: Clone, cloud: Cloud, *options: str) -> subprocess.Popen:
    """Type `snakemake --profile sagemaker` and do not wait."""
    return clone.start("snakemake", "--nocolor", "--profile", "sagemaker", *options, **cloud.variables)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait for a condition while a process runs; fail with what it said when it ends before, or after long."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
