"""The one documented edit: DVC's remote on S3, here a real S3 API on the loopback."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from clone import Clone, succeeded

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A moto server with a bucket `artifacts`."""
    port = 20_000 + os.getpid() % 10_000
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(url)
                break
            except OSError:
                time.sleep(0.2)
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket="artifacts")
        yield url
    finally:
        server.terminate()
        server.wait()


def test_push_pull_and_restore_through_s3(clone: Clone, endpoint: str, tmp_path: Path) -> None:
    remote = f"['remote \"storage\"']\n    url = s3://artifacts/heirloom\n    endpointurl = {endpoint}\n"
    settings = f"[core]\n    remote = storage\n{remote}"
    clone.write(".dvc/config.local", settings)
    succeeded(clone.dvc("push", **CREDENTIALS))
    other = clone.clone_to(tmp_path / "other")
    other.write(".dvc/config.local", settings)
    succeeded(other.snakemake("--config", "runs=sft", **CREDENTIALS))
    assert other.executed() == []
    succeeded(other.dvc("pull", **CREDENTIALS))
    other.nothing_to_do()
    shutil.rmtree(other.folder)
