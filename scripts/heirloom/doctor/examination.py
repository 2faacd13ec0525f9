"""All checks in the order in which a person would look."""

from pathlib import Path

from heirloom.doctor.access import check_hub, check_remote
from heirloom.doctor.c_compiler import check_compiler
from heirloom.doctor.deepspeed_ops import check_deepspeed
from heirloom.doctor.disk import check_disks
from heirloom.doctor.finding import Finding, Level
from heirloom.doctor.gpus import check_gpus
from heirloom.doctor.interconnect import check_efa, check_shared_memory
from heirloom.doctor.limits import check_limits
from heirloom.doctor.machine import check_machine
from heirloom.doctor.neighbours import check_neighbours
from heirloom.doctor.versions import check_lock, check_python


def examine(lock: Path, project: Path | None, offline: bool) -> list[Finding]:
    """Return what is found.

    lock: envs/training.txt, of the clone or of the image; project: the clone's folder, None without one; offline: ask
    neither S3 nor the hub. Where there are GPUs torch is started, to look at them, which takes seconds.
    """
    gpus = check_gpus()
    on_gpus = gpus[0].subject == "GPUs" and gpus[0].level in (Level.OK, Level.WARNING)
    return [
        *check_machine(),
        check_python(),
        check_lock(lock),
        *gpus,
        *(check_compiler() if on_gpus else ()),
        *check_deepspeed(on_gpus),
        *check_shared_memory(),
        *check_efa(),
        *check_limits(),
        *check_neighbours(),
        *check_disks(project),
        *check_remote(project, offline),
        check_hub(offline),
    ]
