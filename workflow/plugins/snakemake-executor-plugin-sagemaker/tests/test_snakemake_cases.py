"""Snakemake's own test cases of executor plugins, with a default storage provider and without."""

import pytest
import snakemake.common.tests as cases
from snakemake.settings.types import RemoteExecutionSettings

from running import IMAGE, PREFIX, ROLE, make_bucket
from snakemake_executor_plugin_sagemaker import ExecutorSettings


class OnTheLoopback:
    """What both kinds of storage share."""

    __test__ = True

    @pytest.fixture(autouse=True)
    def _aws(self, loopback, aws, monkeypatch):
        self._endpoint = aws.endpoint
        make_bucket(aws)

    def get_executor(self):
        return "sagemaker"

    def get_executor_settings(self):
        return ExecutorSettings(
            role=ROLE, region="us-east-1", s3_prefix=PREFIX, image=IMAGE, instance_type="ml.m5.xlarge"
        )

    def get_assume_shared_fs(self):
        return False

    def get_remote_execution_settings(self):
        return RemoteExecutionSettings(seconds_between_status_checks=1, envvars=self.get_envvars())


class TestWithoutStorage(OnTheLoopback, cases.TestWorkflowsLocalStorageBase):
    """Files are carried by the executor."""


class TestWithDefaultStorage(OnTheLoopback, cases.TestWorkflowsMinioPlayStorageBase):
    """Files are carried by snakemake-storage-plugin-s3."""

    @pytest.fixture(autouse=True)
    def _storage(self):
        pytest.importorskip("snakemake_storage_plugin_s3")

    access_key = "testing"
    secret_key = "testing"

    @property
    def endpoint_url(self):
        return self._endpoint
