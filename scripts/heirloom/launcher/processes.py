"""Run a program so that its output is kept, signals reach it, and nothing of it outlives the launcher."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from heirloom.launcher import reaper
from heirloom.launcher.failure import own_sentence, reason_of_failure
from heirloom.launcher.grace import grace_seconds

REMEMBERED_LINES = 2000
REPEATED_SECONDS = 2.0
"""After so long the same signal counts as a second wish; sooner it is the same one, sent to many processes."""


@dataclass(frozen=True)
class Outcome:
    """`error` is one sentence, empty when the exit code is 0."""

    exit_code: int
    error: str = ""


def run(command: list[str], variables: dict[str, str], log: Path, as_sent: Callable[[int], int]) -> Outcome:
    """Run `command` in a process group of its own, its output copied to the terminal and to the file `log`.

    The first SIGTERM, SIGINT or SIGHUP goes on to the program, as the signal `as_sent` of it; what has not ended
    `grace_seconds()` later is killed, or at once when the same signal comes again. When this process dies, even by
    SIGKILL, all of the program is killed.
    """
    reaper.adopt_orphans()  # should the reaper be killed itself
    if "DVC_STAGE" in os.environ:
        reaper.die_with_parent(signal.SIGTERM)  # a killed dvc leaves no training behind
    program = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, *command],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: reaper.die_with_parent(reaper.LAUNCHER_DIED),
    )
    lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
    with forwarded_signals(program, as_sent) as received:
        copy_output(program, log, lines)
        code = program.wait()
    reaper.kill_children()
    if received:
        name = signal.Signals(received[0]).name
        said = own_sentence(lines) or f"stopped by {name}; started again, it goes on from what it has kept"
        return Outcome(128 + received[0], said)
    exit_code = code if code >= 0 else 128 - code
    return Outcome(exit_code, reason_of_failure(lines, exit_code) if exit_code else "")


@contextmanager
def forwarded_signals(program: subprocess.Popen, as_sent: Callable[[int], int]) -> Iterator[list[int]]:
    """Pass the first signal on to the program's process group while the block runs; give the list of those received.

    Only the first: torchrun takes another one for an order to leave its ranks. A signal that was ignored when this
    process began (nohup's SIGHUP) stays so.
    """
    received: list[int] = []
    first_at: dict[int, float] = {}

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        now = time.monotonic()
        if now - first_at.setdefault(number, now) > REPEATED_SECONDS:
            signal_group(program, signal.SIGKILL)
        elif len(received) == 1:
            grace = grace_seconds()
            name = signal.Signals(number).name
            say(f"{name}: the program may take {grace:g} s to end; the same signal once more ends it at once")
            signal_group(program, as_sent(number))
            signal.setitimer(signal.ITIMER_REAL, grace)

    def give_up(_number: int, _frame: object) -> None:
        signal_group(program, signal.SIGKILL)

    wanted = [number for number in reaper.FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in wanted}
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
    """Copy the program's output to the terminal and to the end of `log` as it comes, and remember its last lines.

    Ends with the program: a process that it left behind and that holds the pipe open does not delay us.
    """
    remainder = b""
    with log.open("ab", buffering=0) as file, selectors.DefaultSelector() as selector:
        copies = {str(log): file.fileno(), "the terminal": sys.stdout.fileno()}
        selector.register(program.stdout, selectors.EVENT_READ)
        ended_at = None
        while ended_at is None or time.monotonic() < ended_at + 1:
            chunk = os.read(program.stdout.fileno(), 65536) if selector.select(timeout=0.2) else None
            if chunk == b"":
                break
            if chunk:
                write_to_each(copies, chunk)
                *complete, remainder = (remainder + chunk).split(b"\n")
                lines.extend(line.decode("utf-8", "replace") for line in complete)
            elif ended_at is None and program.poll() is not None:
                ended_at = time.monotonic()
    if remainder:
        lines.append(remainder.decode("utf-8", "replace"))


def write_to_each(copies: dict[str, int], data: bytes) -> None:
    """Write `data` to each file descriptor; one that fails (a full disk, a closed terminal) is told of and left out."""
    for name, descriptor in list(copies.items()):
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            del copies[name]
            say(f"{name} cannot be written to ({error.strerror}): the program goes on without")


def say(line: str) -> None:
    """Write a line to the terminal at once, fit for a signal handler; nothing happens where there is no terminal."""
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())
