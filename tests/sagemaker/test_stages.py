"""Stages as SageMaker training jobs."""

from clone import Clone
from submitting_clone import submit


def test_a_chain_of_stages(clone: Clone, loopback) -> None:
    done = submit(clone, "--config", "runs=sft")
    print(done.stdout, done.stderr)
    for name in loopback.jobs:
        print("=====", name, loopback.logs.text(name))
    assert done.returncode == 0
