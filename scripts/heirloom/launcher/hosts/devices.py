"""Which GPUs of this machine a stage gets, where several stages share them.

Each GPU has a file that its stage holds locked for as long as its launcher lives: no GPU is given twice, whoever
started the stages (Snakemake, DVC, several clones of one user), and one whose stage was killed is free again. In a
cluster's job the cluster has given out its GPUs, and there is nothing to share.
"""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from heirloom.errors import HeirloomError
from heirloom.launcher.gpus import listed_by_the_driver
from heirloom.launcher.processes import say

VISIBLE = "CUDA_VISIBLE_DEVICES"
CLUSTERS = ("SLURM_JOB_ID", "SM_HOSTS")
"""Variables of jobs whose GPUs were given out before."""
GPU = re.compile(r"GPU (\d+): (?:.*\(UUID: ([^)]+)\))?")
MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")
WAIT = 1.0
"""Seconds between two looks for GPUs that have become free."""


class Device(NamedTuple):
    """A GPU, or an instance of one that is divided (MIG)."""

    name: str
    """By which CUDA_VISIBLE_DEVICES names it: a number, or an instance's UUID."""
    uuid: str
    """Which GPU it is, however it is named."""
    is_instance: bool = False


def devices_here() -> list[Device]:
    """Return the GPUs and instances that a program started here may use: all, or what CUDA_VISIBLE_DEVICES names."""
    gpus: list[Device] = []
    instances: dict[str, list[Device]] = {}
    for line in listed_by_the_driver():
        if found := GPU.match(line):
            gpus.append(Device(found[1], found[2] or found[1]))
        elif gpus and (found := MIG.match(line)):
            instances.setdefault(gpus[-1].uuid, []).append(Device(found[1], found[1], is_instance=True))
    every = [device for gpu in gpus for device in instances.get(gpu.uuid, [gpu])]
    if (chosen := os.environ.get(VISIBLE)) is None:
        return every
    names = [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    known = {name: device for device in [*gpus, *every] for name in (device.name, device.uuid)}
    return [known[name]._replace(name=name) for name in names if name in known]


def given_out() -> bool:
    """Say whether this process is in a job of a cluster, which gave it its GPUs."""
    return any(name in os.environ for name in CLUSTERS)


def wanted(asked: int | None, devices: list[Device]) -> int:
    """Return how many devices a stage gets that asks for a number, or for none in particular: all of the machine.

    Raises HeirloomError for more than there are. Instances cannot train together: CUDA shows a process only one.
    """
    most = 1 if any(device.is_instance for device in devices) else len(devices)
    if asked is not None and asked > most:
        kind = "instances of a divided GPU, of which a stage gets one" if most < len(devices) else "GPUs"
        raise HeirloomError(
            f"resources.gpus_per_node: {asked} is more than this machine gives: it has {len(devices)} {kind}; ask for "
            "fewer, or run on other machines (--profile slurm, --profile sagemaker)"
        )
    return most if asked is None else asked


@contextmanager
def claimed(count: int, devices: list[Device], folder: Path | None = None) -> Iterator[list[Device]]:
    """Hold `count` of the devices for this process until the block ends, or the process does; wait until they are free.

    All at once or none, so that two stages never wait for each other. `folder` holds the locks; absent: the user's
    cache of this machine.
    """
    folder = folder or lock_folder()
    held: dict[str, int] = {}
    told = False
    while len(held) < count:
        with turn(folder):
            for device in devices:
                if len(held) < count and (descriptor := lock(folder / f"{device.uuid}.lock")) is not None:
                    held[device.uuid] = descriptor
        if len(held) < count:
            release(held)
            if not told:
                say(f"waiting for {count} of {len(devices)} GPUs: other stages have them")
                told = True
            time.sleep(WAIT)
    try:
        yield [device for device in devices if device.uuid in held]
    finally:
        release(held)


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Look for free devices one process after the other."""
    with (folder / "turn.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock(file: Path) -> int | None:
    """Lock a file, made where it is missing; None when another process holds it. The kernel unlocks it in the end."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def release(held: dict[str, int]) -> None:
    for descriptor in held.values():
        os.close(descriptor)
    held.clear()


def lock_folder() -> Path:
    """Return the user's folder of locks for this machine, made; a home that several machines share has one for each.

    Where there is no home to write to, as in some containers, it is this clone's own.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    of_machine = Path("heirloom", "devices", socket.gethostname())
    folder = (Path(cache) if cache else Path("~/.cache").expanduser()) / of_machine
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        folder = Path(".heirloom") / of_machine
        folder.mkdir(parents=True, exist_ok=True)
    return folder
