"""Run a program so that its output is kept, signals reach it, and nothing of it outlives the launcher."""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from heirloom.launcher.failure import reason_of_failure

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 20.0
"""How long a program may take to end after a signal before it is killed."""
REMEMBERED_LINES = 2000
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Outcome:
    """`error` is one sentence, empty when the exit code is 0."""

    exit_code: int
    error: str = ""


def run(command: list[str], variables: dict[str, str], log: Path) -> Outcome:
    """Run `command` in a process group of its own, its output copied to the terminal and to the file `log`.

    SIGTERM, SIGINT and SIGHUP go on to the program; what has not ended GRACE_SECONDS later is killed. When this
    process dies, even by SIGKILL, the kernel kills the program (and each rank, see `heirloom.rank`).
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a dead rank leaves behind becomes our child, so it can be ended
    if "DVC_STAGE" in os.environ:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # a killed dvc leaves no training behind
    program = subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
    with forwarded_signals(program) as received:
        copy_output(program, log, lines)
        code = program.wait()
    kill_children()
    if received:
        name = signal.Signals(received[0]).name
        return Outcome(128 + received[0], f"stopped by {name}; started again, it goes on where it was")
    exit_code = code if code >= 0 else 128 - code
    return Outcome(exit_code, reason_of_failure(lines, exit_code) if exit_code else "")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the process that started it dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def forwarded_signals(program: subprocess.Popen) -> Iterator[list[int]]:
    """Pass signals on to the program's process group while the block runs; give the list of those received."""
    received: list[int] = []

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        signal_group(program, number)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def give_up(_number: int, _frame: object) -> None:
        signal_group(program, signal.SIGKILL)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    try:
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_group(program: subprocess.Popen, number: int) -> None:
    if program.poll() is None:
        os.killpg(program.pid, number)


def copy_output(program: subprocess.Popen, log: Path, lines: deque[str]) -> None:
    """Copy the program's output to the terminal and to `log` as it comes, and remember its last lines.

    Ends with the program: a process that it left behind and that holds the pipe open does not delay us.
    """
    remainder = b""
    with log.open("wb") as file, selectors.DefaultSelector() as selector:
        selector.register(program.stdout, selectors.EVENT_READ)
        ended_at = None
        while ended_at is None or time.monotonic() < ended_at + 1:
            chunk = os.read(program.stdout.fileno(), 65536) if selector.select(timeout=0.2) else None
            if chunk == b"":
                break
            if chunk:
                file.write(chunk)
                file.flush()
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                *complete, remainder = (remainder + chunk).split(b"\n")
                lines.extend(line.decode("utf-8", "replace") for line in complete)
            elif ended_at is None and program.poll() is not None:
                ended_at = time.monotonic()
    if remainder:
        lines.append(remainder.decode("utf-8", "replace"))


def kill_children() -> None:
    """Kill and reap every process that is still our child."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while children.is_file() and (numbers := children.read_text(encoding="ascii").split()):
        for number in numbers:
            os.kill(int(number), signal.SIGKILL)
            os.waitpid(int(number), 0)
