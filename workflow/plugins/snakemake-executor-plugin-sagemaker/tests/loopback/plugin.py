"""pytest fixtures: AWS on 127.0.0.1 (`aws`) with a SageMaker that runs its jobs (`loopback`).

Use them with `pytest_plugins = ["loopback.plugin"]` in a top-level conftest.py, or import `moto_endpoint`, `aws`,
`loopback_options` and `loopback` in any other, with the folder above this package on `sys.path`. A module or class sets
the server's options by a fixture `loopback_options` of its own, which returns the keyword arguments of
`LoopbackSageMaker`; its `container_env` is added to the fixture's own.
"""

import contextlib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

import boto3
import pytest
from moto.server import ThreadedMotoServer

from .job import REGION
from .server import LoopbackSageMaker

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
# what would lead a client to a real account
_REMOVED = ("AWS_PROFILE", "AWS_SESSION_TOKEN")


@dataclass(frozen=True)
class Aws:
    """moto's server for every service that the loopback does not serve; `own`: the tests' own key where it asks."""

    endpoint: str
    own: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The environment that points botocore at moto: no service is left that could reach the internet."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ENDPOINT_URL_S3": self.endpoint}

    def client(self, service: str):
        """A boto3 client of a service on moto."""
        key = {name.lower(): value for name, value in self.own.items()}
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **key)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """The content of every object below a prefix by its key, for a test to compare or to search for secrets."""
        s3 = self.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        found = {}
        for key in keys:
            with contextlib.suppress(s3.exceptions.NoSuchKey):  # deleted meanwhile by a job that runs
                found[key] = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return found


@contextlib.contextmanager
def moto_server():
    """moto's server on a free port of 127.0.0.1; yields its URL. Its services are empty after `reset`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def reset(endpoint: str) -> None:
    """Empty all services of moto's server; its state is the process's, a new server alone would not be empty."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()


@pytest.fixture(scope="session")
def moto_endpoint():
    """The URL of one moto server for all tests of this process; `aws` empties it for each."""
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def aws(moto_endpoint, monkeypatch):
    """moto for S3, SSM, Secrets Manager and all the rest, in the environment of this process and its children."""
    reset(moto_endpoint)
    for name in _REMOVED:
        monkeypatch.delenv(name, raising=False)
    server = Aws(moto_endpoint)
    for name, value in (CREDENTIALS | server.variables).items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def loopback_options() -> dict:
    """Options of the loopback; overridden by modules that need others."""
    return {}


@pytest.fixture
def loopback(aws, monkeypatch, loopback_options):
    """The loopback SageMaker, in the environment of this process and its children."""
    options = dict(loopback_options)
    options["container_env"] = {**aws.variables, **options.get("container_env", {})}
    with LoopbackSageMaker(**options) as server:
        for name, value in server.endpoint_variables.items():
            monkeypatch.setenv(name, value)
        yield server
    assert not server.problems, "\n".join(server.problems)
