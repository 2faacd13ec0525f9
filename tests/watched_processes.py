"""Look at the processes that a test has started, and wait for what they do."""

import signal
import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], object], seconds: float = 120.0, every: float = 0.01) -> None:
    """Return once the condition holds, looking `every` so many seconds; fail when it does not for `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(every)


def processes_in(folder: Path) -> list[int]:
    """Return the processes whose current folder is `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:  # it ended, or is not ours to look at
            continue
    return found


def ranks_in(folder: Path) -> dict[int, int]:
    """Return the process of each rank in `folder`; a rank's data loaders are its children and not among them."""
    found: dict[int, int] = {}
    for process in sorted(processes_in(folder)):
        try:
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = next((int(variable[5:]) for variable in variables if variable.startswith(b"RANK=")), None)
        if rank is not None:
            found.setdefault(rank, process)
    return found


def handles(process: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler of its own for a signal."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
