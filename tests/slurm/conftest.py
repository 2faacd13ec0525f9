"""A Slurm, started once, and clones of this repository to run on it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_cluster import Cluster, why_not

sys.path.append(str(Path(__file__).resolve().parents[1] / "end_to_end"))  # demo_clone
sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))  # training_workplace

from short_chain import at_home  # noqa: E402, F401


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster; where there is no Slurm the test is skipped."""
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm can be started: {reason}")
    with Cluster() as cluster:
        yield cluster
