"""What the operating system allows this process: open files, processes, memory."""

import os
import resource
from pathlib import Path

from heirloom.doctor.finding import Finding, note, ok, warning

OPEN_FILES = 4096
"""A rank holds its shards, sockets to every other rank and the pipes of its data loader workers open."""
PROCESSES = 2048
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
ENOUGH_MEMORY = 4 * 2**30


def shown(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def check_limits() -> list[Finding]:
    """Find limits that stop a training after it has started."""
    findings = []
    for subject, kind, enough, option, meaning in (
        (
            "open files",
            resource.RLIMIT_NOFILE,
            OPEN_FILES,
            "nofile",
            "`Too many open files` during a training",
        ),
        ("processes", resource.RLIMIT_NPROC, PROCESSES, "nproc", "threads of ranks and data loaders cannot start"),
    ):
        soft, hard = resource.getrlimit(kind)
        found = f"{shown(soft)} (at most {shown(hard)})"
        if soft == resource.RLIM_INFINITY or soft >= enough:
            findings.append(ok(subject, found))
        else:
            letter = {"nofile": "n", "nproc": "u"}[option]
            findings.append(
                warning(
                    subject, found, meaning, f"ulimit -{letter} {enough}, in a container --ulimit {option}={enough}"
                )
            )
    return [*findings, check_memory()]


def check_memory() -> Finding:
    """Find little memory, be it the machine's or that of the container."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = min([pages, *cgroup_limits()])
    found = f"{allowed / 2**30:.1f} GiB for this process, {pages / 2**30:.1f} GiB in the machine"
    if allowed >= ENOUGH_MEMORY:
        return ok("memory", found)
    return note(
        "memory",
        found,
        "enough for the demo; ranks with a real model are killed",
        "raise the container's --memory",
    )


def cgroup_limits() -> list[int]:
    """Return the limits of memory in bytes that the container sets; none outside one."""
    texts = [file.read_text(encoding="ascii").strip() for file in MEMORY_LIMITS if file.is_file()]
    return [int(text) for text in texts if text.isdecimal()]
