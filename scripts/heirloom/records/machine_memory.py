"""The main memory that processes here may take together: the machine's, or what a container or Slurm allows of it."""

import os
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def machine_memory() -> int:
    """Return how many bytes there are in all, taken or free."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits().values()])


def limits() -> dict[Path, int]:
    """Return the control groups that this process is in and that limit memory, each with its limit in bytes.

    Read from cgroup v2 (kernel.org, admin-guide/cgroup-v2: memory.max).
    """
    found = {}
    for folder in own_cgroups():
        file = folder / "memory.max"
        if file.is_file() and (text := file.read_text(encoding="ascii").strip()).isdecimal():  # else "max": no limit
            found[folder] = int(text)
    return found


def own_cgroups() -> list[Path]:
    """Return the folders of the control groups that this process is in, each within the one after it."""
    lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines() if MEMBERSHIP.is_file() else []
    inner = next((line[3:] for line in lines if line.startswith("0::/")), "/")
    return [CGROUPS / above.relative_to("/") for above in (PurePosixPath(inner), *PurePosixPath(inner).parents)]
