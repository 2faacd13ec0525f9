"""How much main memory this process may still take."""

from pathlib import Path

import psutil

from heirloom.records.machine_memory import limits


def free_memory() -> int:
    """Return how many bytes are free: of the machine, with its swap, and of what a container or Slurm allows.

    Limits are read from cgroup v2 (kernel.org, admin-guide/cgroup-v2: memory.max, memory.current, and memory.stat's
    inactive_file, which the kernel gives back when it is needed).
    """
    machine = psutil.virtual_memory().available + psutil.swap_memory().free
    return min([machine, *(free_in(folder, limit) for folder, limit in limits().items())])


def free_in(folder: Path, limit: int) -> int:
    """Return how many bytes the members of a control group may still take."""
    taken = int((folder / "memory.current").read_text(encoding="ascii"))
    parts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    return max(limit - taken + int(parts.get("inactive_file", 0)), 0)
