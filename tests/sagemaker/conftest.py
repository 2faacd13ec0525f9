"""A SageMaker on the loopback that really runs its training jobs: the plugin's own test support."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PLUGIN = TESTS.parent / "workflow" / "plugins" / "snakemake-executor-plugin-sagemaker"
# training_workplace; demo_clone; loopback and running; the plugin
sys.path += [str(TESTS / "training"), str(TESTS / "end_to_end"), str(PLUGIN / "tests"), str(PLUGIN / "src")]

from loopback.plugin import aws, loopback, loopback_options, moto_endpoint  # noqa: E402, F401
from running import make_bucket  # noqa: E402


@pytest.fixture
def bucket(aws) -> None:  # noqa: F811
    """The bucket of the jobs."""
    make_bucket(aws)
