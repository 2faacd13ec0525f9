"""What a job asks of Slurm, as `snakemake --profile slurm -n` shows it; no Slurm is needed for that."""

import re
from pathlib import Path

from clone import Clone

PROFILE = "workflow/profiles/slurm"


def resources(clone: Clone) -> dict[str, str]:
    """Return stage → the resources of its job."""
    done = clone.snakemake("--profile", PROFILE, "-n", "-p")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r"^ +resources: (.+)\n(?:.*\n)*? +python workflow/pipeline run (\S+)", done.stdout, re.MULTILINE)
    return {stage: asked for asked, stage in jobs}


def test_a_runs_own_resources_come_before_the_profiles(fresh: Clone, tmp_path: Path) -> None:
    clone = fresh.copy_to(tmp_path / "clone")
    clone.edit(f"{PROFILE}/config.yaml", "mem_mb: 8000", "mem_mb: 1000 * attempt\n  gres: gpu:a100:1\n  qos: long")
    run = "resources: {nodes: 2, gpus_per_node: 8, slurm_partition: big, runtime: 600, generation: {nodes: 1}}\n"
    clone.edit("config/runs/sft.yaml", "base: pre\n", f"base: pre\n{run}")
    clone.edit("config/runs/sft.yaml", "global_batch_size: 2", "global_batch_size: 16")
    asked = resources(clone)
    train, generate, other = asked["train-sft"], asked["generate-sft"], asked["train-other"]
    for part in ("nodes=2", "tasks=2", "mpi=srun", "gres=gpu:8", "slurm_partition=big", "runtime=600", "mem_mb=1000"):
        assert part in train.split(", "), train
    assert "nodes=1" in generate and "mpi" not in generate and "slurm_partition=big" in generate
    assert "gres=gpu:a100:1" in other and "mpi" not in other and "runtime=120" in other
    assert all("qos=long" in job and "cpus_per_task=2" in job for job in asked.values())
    assert "tasks=" not in asked["download-text"]


def test_the_profile_is_found_by_its_name_from_the_root() -> None:
    root = Path(__file__).resolve().parents[2]
    assert (root / "slurm").is_symlink() and (root / "slurm").samefile(root / PROFILE)
