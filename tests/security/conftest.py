"""What the tests of security share."""

from collections.abc import Iterator
from typing import Any

import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 on the loopback with the buckets `team` and `strangers`; the environment leads there too."""
    import boto3

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", host)
        client = boto3.client("s3")
        for bucket in ("team", "strangers"):
            client.create_bucket(Bucket=bucket)
        yield client
    server.stop()
