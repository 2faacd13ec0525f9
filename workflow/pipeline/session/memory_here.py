"""This machine's main memory as a resource of Snakemake's: stages that say what they need share it."""

from collections.abc import Callable

from heirloom.records.machine_memory import machine_memory
from pipeline.graph import Stage

MEMORY = "mem_mb"
"""The run's key, and Snakemake's name of the resource."""
MB = 2**20


def share_memory(workflow) -> Callable[[Stage], int]:
    """Let Snakemake count main memory; return how many MB a stage takes: what its run says, 0 where that says nothing.

    One that asks for more than there is takes all of it: the number may be that of a cluster's node. What the user
    gives Snakemake by `--resources mem_mb=…` counts in place of the machine's.
    """
    counted = workflow.global_resources
    if MEMORY not in counted:
        workflow.register_resource(MEMORY, type(counted["_cores"])(MEMORY, machine_memory() // MB))
    most = counted[MEMORY].value
    return lambda stage: min(stage.resources.get(MEMORY) or 0, most)
