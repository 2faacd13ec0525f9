"""What a Snakemake job asks for: the run's keys, else the profile's, in the names of Slurm's plugin."""

from pipeline.graph.machines import RESOURCES, job_resources

PROFILE = {"slurm_partition": "gpu", "mem_mb": 8000, "runtime": 120, "gres": "gpu:a100:1"}


def asked(profile: dict | None = None, **run) -> dict:
    found = job_resources(run, (PROFILE if profile is None else profile).get)
    assert found.keys() == set(RESOURCES)
    return {name: value for name, value in found.items() if value is not None}


def test_what_the_run_says_comes_first_key_by_key():
    assert asked() == {**PROFILE, "tasks_per_gpu": 0}
    assert asked(slurm_partition="big", runtime=600) == {
        **PROFILE,
        "slurm_partition": "big",
        "runtime": 600,
        "tasks_per_gpu": 0,
    }
    assert asked({}, slurm_account="lab", cpus_per_task=8) == {"slurm_account": "lab", "cpus_per_task": 8, "mem_mb": 0}


def test_gpus_are_those_of_each_node():
    assert asked(gpus_per_node=8)["gres"] == "gpu:8"
    assert "gres" not in asked(gpus_per_node=0) and "tasks_per_gpu" not in asked(gpus_per_node=0)


def test_a_job_of_several_nodes_starts_its_tasks_itself():
    """Else the plugin makes it one task, in which nothing can start on another node."""
    several = asked({}, nodes=2)
    assert (several["nodes"], several["tasks"], several["mpi"]) == (2, 2, "srun")
    assert asked({"nodes": 4})["mpi"] == "srun"
    assert not {"tasks", "mpi"} & asked({"nodes": 4}, nodes=1).keys()


def test_sagemakers_keys_are_not_slurms():
    assert asked({}, instance_type="ml.p4d.24xlarge", instance_count=2) == {"mem_mb": 0}
