"""Generations that go to S3 as well, through s3fs: the place is checked first, and an earlier upload is replaced."""

import json
import subprocess

import boto3
import pytest
from moto_server import CREDENTIALS, moto_server
from tiny_place import Place, environment


@pytest.fixture(scope="module")
def s3():
    """Variables under which s3fs finds a server on the loopback, and a client of it; there is a bucket `answers`."""
    with moto_server() as url:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url, **keys)
        client.create_bucket(Bucket="answers")
        yield CREDENTIALS | {"AWS_ENDPOINT_URL": url}, client


def infer(place: Place, variables: dict[str, str], output: str, *flags: str, tracking: str | None = None):
    """Let the tiny model answer two prompts; return the finished process."""
    sections = {"generation": {"max_new_tokens": 4, "limit": 2}}
    sections |= {"tracking": {"s3_upload_dir": tracking}} if tracking else {}
    command = place.command(*place.inference(place.config(output, **sections), output), *flags, ranks=1)
    return subprocess.run(
        command, cwd=place.folder, env=environment() | variables, capture_output=True, text=True, timeout=240
    )


def test_generations_go_to_s3_too(place, s3):
    variables, client = s3
    done = infer(place, variables, "uploaded", tracking="s3://answers/all/")
    assert done.returncode == 0 and "copied to s3://answers/all/uploaded" in done.stdout, done.stdout + done.stderr
    stored = client.get_object(Bucket="answers", Key="all/uploaded/generations.jsonl")["Body"].read().decode()
    assert [json.loads(line) for line in stored.splitlines()] == place.generations("uploaded")


def test_a_place_that_cannot_take_them_is_told_before_anything_is_answered(place, s3):
    variables, client = s3
    client.put_object(Bucket="answers", Key="taken/thesis.pdf", Body=b"not ours")
    for url, problem in (
        ("s3://answers/taken", "holds other objects (thesis.pdf, …) than an upload of this program has left there"),
        ("s3://nowhere/at/all", "there is no bucket nowhere"),
    ):
        done = infer(place, variables, "refused", "--s3_upload_dir", url)
        assert done.returncode == 1 and problem in done.stderr, done.stdout + done.stderr
        assert not (place.folder / "refused").exists()
