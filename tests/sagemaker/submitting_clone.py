"""What a user does to a clone before `snakemake --profile sagemaker`, and what is typed and seen then."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN_SOURCES = REPOSITORY / "workflow" / "plugins" / "snakemake-executor-plugin-sagemaker" / "src"
PROFILE = "workflow/profiles/sagemaker/config.yaml"
BUCKET = "heirloom"
SETTINGS = {
    "role": "arn:aws:iam::123456789012:role/heirloom",
    "s3-prefix": f"s3://{BUCKET}/jobs",
    "image": "registry.example/heirloom:1",
}
REMOTE = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://{BUCKET}/data\n"


def fill_in_profile(folder: Path) -> None:
    """Take the comment marks off the profile's settings and point DVC's remote at S3, as docs/sagemaker.md says."""
    profile = folder / PROFILE
    text = profile.read_text()
    for name, value in SETTINGS.items():
        text, count = re.subn(rf"^# sagemaker-{name}: \S+", f"sagemaker-{name}: {value}", text, flags=re.MULTILINE)
        assert count == 1, f"{PROFILE} has no line for sagemaker-{name}"
    text = re.sub(r"(seconds-between-status-checks): \d+", r"\1: 1", text)
    profile.write_text(text)
    (folder / ".dvc/config").write_text(REMOTE)
    (folder / ".dvc/config.local").unlink(missing_ok=True)


def submitted(loopback) -> list[str]:
    """Return the stages whose jobs were submitted, in that order, as their tags say."""
    tags = [{tag["Key"]: tag["Value"] for tag in job.request["Tags"]} for job in loopback.jobs.values()]
    return [each["heirloom:stage"] for each in tags]


def submit(clone, *options: str, **variables: str):
    """Type `snakemake --profile sagemaker`; return the finished process."""
    return clone.snakemake("--profile", "sagemaker", *options, PYTHONPATH=str(PLUGIN_SOURCES), **variables)
