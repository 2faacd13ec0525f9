"""An AWS that is this machine: SageMaker runs its jobs here, S3 and the stores of secrets are moto's."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from loopback import LoopbackSageMaker
from loopback.permissions import Permissions
from loopback.plugin import CREDENTIALS, Aws, moto_server, reset
from policies import PERSON, policies

PLUGIN_SOURCES = Path(__file__).resolve().parents[2] / "workflow/plugins/snakemake-executor-plugin-sagemaker/src"
BUCKET = "heirloom"
OWN = {name: value for name, value in CREDENTIALS.items() if not name.endswith("_FILE")}
"""The submitting machine's credentials and region; DVC takes no /dev/null for a file of settings."""


@dataclass
class Cloud:
    """SageMaker and the rest of AWS; who submits and the jobs may do there what SECURITY.md's policies allow."""

    sagemaker: LoopbackSageMaker
    aws: Aws
    permissions: Permissions

    @property
    def variables(self) -> dict[str, str]:
        """What leads AWS's clients here, and Snakemake to the plugin, as though it were installed."""
        endpoints = self.aws.variables | self.sagemaker.endpoint_variables
        return OWN | self.permissions.variables[PERSON] | endpoints | {"PYTHONPATH": str(PLUGIN_SOURCES)}

    def stages(self) -> list[str]:
        """Return the stages whose jobs were submitted, in that order, as their tags say."""
        return [self.tags(name)["heirloom:stage"] for name in self.sagemaker.jobs]

    def job(self, stage: str) -> str:
        """Return the name of a stage's newest job."""
        return [name for name in self.sagemaker.jobs if self.tags(name)["heirloom:stage"] == stage][-1]

    def request(self, stage: str) -> dict:
        """Return what was asked of SageMaker for a stage's newest job."""
        return self.sagemaker.jobs[self.job(stage)].request

    def tags(self, name: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.sagemaker.jobs[name].request["Tags"]}

    def logs(self) -> str:
        """Return the end of all jobs' logs, for the message of a test that fails."""
        return "\n".join(f"== {name}\n{self.sagemaker.logs.text(name)[-3000:]}" for name in self.sagemaker.jobs)

    def everything_sent(self) -> bytes:
        """Return all requests, all objects on S3 (unpacked too) and all logs."""
        parts = [request.body + repr(request.headers).encode() for request in self.sagemaker.requests]
        for key, data in self.aws.objects(BUCKET).items():
            parts += [key.encode(), data, gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""]
        parts += [self.sagemaker.logs.text(name).encode() for name in self.sagemaker.jobs]
        parts += [repr(job.describe()).encode() for job in self.sagemaker.jobs.values()]
        return b"\n".join(parts)


@contextmanager
def cloud_on_loopback(image: dict[str, str], hide: tuple[str, ...], grace: float = 5.0) -> Iterator[Cloud]:
    """Give a Cloud whose containers have the variables of `image` and do not see the folders `hide`.

    `grace`: seconds between SIGTERM and SIGKILL.
    """
    with moto_server() as endpoint, pytest.MonkeyPatch.context() as own:
        for name, value in OWN.items():  # of this process's own clients
            own.setenv(name, value)
        reset(endpoint)
        permissions = Permissions(policies())
        with permissions.enforced(endpoint) as everything:
            aws = Aws(endpoint, everything)
            options = {"container_env": aws.variables | image, "hide": hide, "s3_endpoint": endpoint, "grace": grace}
            with LoopbackSageMaker(**options, permissions=permissions) as sagemaker:
                yield Cloud(sagemaker, aws, permissions)
            assert not sagemaker.problems, "\n".join(sagemaker.problems)
