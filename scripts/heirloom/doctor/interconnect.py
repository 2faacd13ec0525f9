"""What ranks talk through: shared memory on one machine, EFA between several."""

import os
import resource
import shutil
from pathlib import Path

from heirloom.doctor.finding import Finding, error, ok, warning
from heirloom.launcher.gpus import efa_plugin, plugin_problem

SHARED_MEMORY = Path("/dev/shm")
ENOUGH_SHARED = 2**30
"""NCCL wants a few MB for each pair of ranks, data loader workers a batch each; docker's default is 64 MB."""
EFA_DEVICES = Path("/sys/class/infiniband")


def check_shared_memory(folder: Path = SHARED_MEMORY) -> list[Finding]:
    """Find a /dev/shm that is too small for NCCL and for data loaders."""
    if not folder.is_dir():
        return []
    size = shutil.disk_usage(folder).total
    found = f"{folder} has {size / 2**20:.0f} MiB"
    if size >= ENOUGH_SHARED:
        return [ok("shared memory", found)]
    return [
        warning(
            "shared memory",
            found,
            "NCCL and data loader workers can die of `Bus error` or `No space left on device`",
            "start the container with --ipc=host or --shm-size=8g",
        )
    ]


def efa_devices(folder: Path = EFA_DEVICES) -> list[str]:
    """Return the names of the EFA devices that are here."""
    return sorted(device.name for device in folder.glob("*") if device.name.startswith(("efa", "rdmap")))


def check_efa() -> list[Finding]:
    """Find an EFA device that NCCL would not use; nothing where there is none."""
    devices = efa_devices()
    if not devices:
        return []
    found = f"{len(devices)} device{'s' if len(devices) > 1 else ''}"
    plugin = efa_plugin()
    if plugin is None:
        return [
            warning(
                "EFA",
                f"{found}, no NCCL plugin for it",
                "NCCL falls back to TCP, many times slower between nodes",
                "build the image with EFA (EFA_VERSION in docs/image.md)",
            )
        ]
    if problem := plugin_problem(plugin):
        return [
            error(
                "EFA",
                f"{found}, and a plugin that cannot be loaded: {problem}",
                "NCCL falls back to TCP, many times slower between nodes",
                "build the image with docker/Dockerfile, or put what is missing where the loader looks",
            )
        ]
    if not Path("/dev/infiniband").is_dir():
        return [
            error(
                "EFA",
                f"{found}, but no /dev/infiniband in here",
                "the plugin cannot open them",
                "start the container with --device /dev/infiniband",
            )
        ]
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        return [
            error(
                "EFA",
                f"{found}, but the limit of locked memory is not `unlimited`",
                "libfabric cannot register memory: NCCL fails when it starts",
                "start the container with --ulimit memlock=-1",
            )
        ]
    return [ok("EFA", f"{found}, NCCL's plugin is here; FI_PROVIDER={os.environ.get('FI_PROVIDER', 'unset')}")]
