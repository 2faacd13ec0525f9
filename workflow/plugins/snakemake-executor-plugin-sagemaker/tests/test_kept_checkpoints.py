"""What of /opt/ml/checkpoints is on S3 when a container ends: all, or as much as there is time for, and it is said."""

import os
import time

import pytest

from loopback.slow_network import SlowNetwork
from running import BUCKET
from snakemake_executor_plugin_sagemaker.container import checkpoints
from snakemake_executor_plugin_sagemaker.container.checkpoints import Checkpoints

PREFIX = "project/checkpoints/key"


@pytest.fixture
def folder(aws, bucket, tmp_path):
    """A folder as SageMaker has filled it from S3."""
    for name in ("step-1/state", "step-1/removed", "of-another-host"):
        aws.client("s3").put_object(Bucket=BUCKET, Key=f"{PREFIX}/{name}", Body=b"old")
    for name in ("step-1/state", "step-1/removed"):
        (tmp_path / "step-1").mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"old")
    return tmp_path


def on_s3(aws) -> dict[str, bytes]:
    return {key.removeprefix(f"{PREFIX}/"): data for key, data in aws.objects(BUCKET, PREFIX).items()}


def test_an_end_brings_what_is_new_and_takes_away_what_is_gone(folder, aws):
    def written(name: str):
        return aws.client("s3").head_object(Bucket=BUCKET, Key=f"{PREFIX}/{name}")["LastModified"]

    before = written("step-1/state")
    time.sleep(1.1)  # S3 tells whole seconds
    kept = Checkpoints(folder, BUCKET, PREFIX, {})
    (folder / "step-1/removed").unlink()
    (folder / "step-2").mkdir()
    (folder / "step-2/state").write_bytes(b"new")
    said = kept.finish(lambda: 60)
    kept.close()
    assert said == f"checkpoints: all 2 files (0.0 MB) are kept at s3://{BUCKET}/{PREFIX}"
    assert on_s3(aws) == {"step-1/state": b"old", "step-2/state": b"new", "of-another-host": b"old"}
    assert written("step-1/state") == before  # nothing that S3 has is sent again


def test_what_another_host_has_written_anew_stays(folder, aws):
    """Both were brought a checkpoint that was not complete, and deleted it; one has reached its step again."""
    kept = Checkpoints(folder, BUCKET, PREFIX, {})
    for name in ("step-1/state", "step-1/removed"):
        (folder / name).unlink()
    time.sleep(1.1)  # S3 tells whole seconds
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"{PREFIX}/step-1/state", Body=b"anew")
    kept.finish(lambda: 60)
    kept.close()
    assert on_s3(aws) == {"step-1/state": b"anew", "of-another-host": b"old"}


def test_what_there_is_no_time_for_is_named_and_small_files_are_safe(folder, aws, monkeypatch):
    """And nothing that a complete checkpoint needs is deleted, and no part of an upload stays to be paid for."""
    monkeypatch.setattr(checkpoints, "_PART", 5 << 20)
    (folder / "a-shard").write_bytes(os.urandom(12 << 20))
    (folder / "z-adapter").write_bytes(b"small")
    with SlowNetwork(aws.endpoint, 1 << 20, 0.02) as network:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", network.url)
        kept = Checkpoints(folder, BUCKET, PREFIX, {})
        (folder / "step-1/removed").unlink()
        (folder / "z-adapter").write_bytes(b"small one")
        (folder / "a-shard").write_bytes(os.urandom(12 << 20))
        kept.hurry()
        until = time.monotonic() + 3
        said = kept.finish(lambda: until - time.monotonic())
        kept.close()
    assert said.startswith("checkpoints: 1 of 3 files (12.6 MB) did not get to s3://"), said
    assert "in time and are lost: a-shard; the next start goes on from what was complete before" in said
    assert on_s3(aws)["z-adapter"] == b"small one"
    assert on_s3(aws)["step-1/removed"] == b"old"
    assert "Uploads" not in aws.client("s3").list_multipart_uploads(Bucket=BUCKET)


def test_a_refusal_is_said_and_raises_nothing(folder, aws):
    kept = Checkpoints(folder, "nowhere", PREFIX, {})
    (folder / "new").write_bytes(b"new")
    said = kept.finish(lambda: 60)
    assert "3 of 3 files" in said and "NoSuchBucket" in said
