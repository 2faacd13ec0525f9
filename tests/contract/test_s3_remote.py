"""The one documented edit: DVC's remote on S3, here a real S3 API on the loopback."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from clone import Clone, succeeded
from moto_server import CREDENTIALS, moto_server


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A moto server with a bucket `artifacts`."""
    with moto_server() as url:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket="artifacts")
        yield url


def test_push_pull_and_restore_through_s3(clone: Clone, endpoint: str, tmp_path: Path) -> None:
    remote = f"['remote \"storage\"']\n    url = s3://artifacts/heirloom\n    endpointurl = {endpoint}\n"
    settings = f"[core]\n    remote = storage\n{remote}"
    clone.write(".dvc/config.local", settings)
    clone.git("rm", "-q", "--cached", "config/chats.jsonl")  # the user's own rows: DVC carries them from now on
    succeeded(clone.dvc("add", "config/chats.jsonl"))
    clone.commit("large rows")
    succeeded(clone.dvc("push", **CREDENTIALS))
    other = clone.clone_to(tmp_path / "other")
    other.write(".dvc/config.local", settings)
    missing = other.pipeline("plan").stderr
    assert (
        "there is no config/chats.jsonl" in missing
        and "`make pull` brings what config/chats.jsonl.dvc names" in missing
    )
    pulled = succeeded(other.run(sys.executable, "workflow/pipeline", "pull", "model-tiny", **CREDENTIALS))
    assert pulled.stdout.splitlines()[0] == "config/chats.jsonl.dvc: restored"
    assert (other.folder / "config/chats.jsonl").read_bytes() == (clone.folder / "config/chats.jsonl").read_bytes()
    succeeded(other.snakemake("--config", "runs=sft", **CREDENTIALS))
    assert other.executed() == []
    succeeded(other.dvc("pull", **CREDENTIALS))
    other.nothing_to_do()
    shutil.rmtree(other.folder)
