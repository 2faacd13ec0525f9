"""This machine's GPUs as a resource of Snakemake's: as many stages side by side as they suffice for.

The launcher gives each stage its own (heirloom.launcher.hosts.devices). Here is only counted, so that no stage is begun
which would have to wait.
"""

import os
from collections.abc import Callable

from heirloom.errors import HeirloomError
from heirloom.launcher.hosts.devices import VISIBLE, Device, devices_here, given_out, wanted
from pipeline.graph import Stage
from pipeline.ledger import Ledger

ACCELERATOR = "accelerator"
"""The resource: a unit is a GPU here, a whole machine where there is none, and on other machines."""


def share_out(workflow, ledger: Ledger, real: bool) -> Callable[[Stage], int]:
    """Let Snakemake count GPUs instead of machines; return how many a stage takes.

    Raises HeirloomError for a stage to be executed that asks for more than there are, or, when it is `real`, for GPUs
    on a machine without any; an empty CUDA_VISIBLE_DEVICES asks for CPU ranks.
    """
    devices = [] if given_out() else devices_here()
    asking = {name: ledger.graph.stages[name].resources.get("gpus_per_node") for name in ledger.to_do_or_to_follow()}
    for name, asked in asking.items():
        if asked and devices:
            counted(name, asked, devices)
        elif asked and real and os.environ.get(VISIBLE) is None and not given_out():
            raise HeirloomError(
                f"{name}: resources.gpus_per_node: {asked}, and this machine has no GPU: take it out of the run, set "
                f"{VISIBLE}= (empty) to want CPU ranks, or run on other machines (--profile slurm, --profile sagemaker)"
            )
    if not devices or ACCELERATOR not in workflow.global_resources:
        return lambda stage: 0 if stage.is_light else 1
    machines = workflow.global_resources[ACCELERATOR]
    workflow.register_resource(ACCELERATOR, type(machines)(ACCELERATOR, machines.value * len(devices)))
    return lambda stage: units(stage, devices)


def units(stage: Stage, devices: list[Device]) -> int:
    """Return how many of the devices a stage takes."""
    return counted(stage.name, stage.gpus, devices)


def counted(name: str, asked: int | None, devices: list[Device]) -> int:
    """Return `devices.wanted`, with the stage's name in what it refuses."""
    try:
        return wanted(asked, devices)
    except HeirloomError as error:
        raise HeirloomError(f"{name}: {error}") from error
