"""How much main memory this process may still take."""

from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def free_memory() -> int:
    """Return how many bytes are free: of the machine, with its swap, and of what a container or Slurm allows.

    Limits are read from cgroup v2 (kernel.org, admin-guide/cgroup-v2: memory.max, memory.current, and memory.stat's
    inactive_file, which the kernel gives back when it is needed).
    """
    machine = psutil.virtual_memory().available + psutil.swap_memory().free
    return min([machine, *(free_in(folder) for folder in own_cgroups() if is_limited(folder))])


def own_cgroups() -> list[Path]:
    """Return the folders of the control groups that this process is in, each within the one before."""
    lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines() if MEMBERSHIP.is_file() else []
    inner = next((line[3:] for line in lines if line.startswith("0::/")), "/")
    return [CGROUPS / above.relative_to("/") for above in (PurePosixPath(inner), *PurePosixPath(inner).parents)]


def is_limited(folder: Path) -> bool:
    """Say whether a control group limits memory; `max`, or no file, means that it does not."""
    file = folder / "memory.max"
    return file.is_file() and file.read_text(encoding="ascii").strip().isdecimal()


def free_in(folder: Path) -> int:
    """Return how many bytes the members of a control group may still take."""
    limit, taken = (int((folder / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    parts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    return max(limit - taken + int(parts.get("inactive_file", 0)), 0)
