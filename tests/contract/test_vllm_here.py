"""What vLLM needs of this machine is told with the plan, before a stage runs."""

from pathlib import Path

import pytest
from clone import Clone, succeeded


@pytest.fixture
def by_vllm(clone: Clone) -> Clone:
    """A clone in which vLLM is to answer for the run sft."""
    clone.edit(
        "config/runs/sft.yaml", "generation: {max_new_tokens: 4}", "generation: {max_new_tokens: 4, engine: vllm}"
    )
    return clone


def test_an_environment_that_is_not_installed_and_heads_that_it_cannot_serve_are_told(by_vllm: Clone, tmp_path: Path):
    place = {"HEIRLOOM_VLLM": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = by_vllm.snakemake("-n", **place)
    assert done.returncode == 1
    assert f"generate-sft: generation.engine: vllm runs in an environment of its own, and {tmp_path} is" in done.stderr
    assert "`make setup-vllm`" in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "ready").touch()
    succeeded(by_vllm.snakemake("-n", **place))
    by_vllm.edit("config/models/tiny.yaml", "hidden_size: 8", "hidden_size: 48, num_attention_heads: 2")
    done = by_vllm.snakemake("-n", **place)
    assert done.returncode == 1
    assert "generate-sft: generation.engine: vllm has no attention on CPUs for heads of size 24" in done.stderr
