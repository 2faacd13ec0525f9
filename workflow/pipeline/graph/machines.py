"""Which machines a Snakemake job asks for: what the run's own `resources:` section says, else what the profile says.

Slurm's plugin reads them under these names; jobs here ignore them.
"""

from collections.abc import Callable, Mapping
from typing import Any

RESOURCES = (
    "slurm_partition", "slurm_account", "nodes", "cpus_per_task", "mem_mb", "runtime", "gres", "tasks", "tasks_per_gpu",
    "mpi",
)  # fmt: skip


def job_resources(asked: Mapping[str, Any], default: Callable[[str], Any]) -> dict[str, Any]:
    """Return RESOURCES for one job, None (memory: 0) for those that are left to the cluster.

    `asked` are the keys of config.sections.resources.Machines that the run gives, `default` the profile's value of a
    resource. Of several nodes each gets one task: the job itself, on the first of them, starts torchrun on all.
    The plugin must know that (`mpi`): a job that it runs as one task could not start anything on the other nodes.
    """
    found = {name: asked.get(name, default(name)) for name in RESOURCES}
    if "gpus_per_node" in asked:
        found["gres"] = f"gpu:{asked['gpus_per_node']}" if asked["gpus_per_node"] else None
    several = (found["nodes"] or 1) > 1
    found["mpi"] = "srun" if several else None
    found["tasks"] = found["nodes"] if several else None
    found["mem_mb"] = found["mem_mb"] or 0  # Snakemake wants a number; the plugin takes 0 for none
    found["tasks_per_gpu"] = 0 if found["gres"] else None  # else the plugin asks for `tasks` a GPU
    return found
