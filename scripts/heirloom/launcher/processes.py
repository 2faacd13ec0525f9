"""Run a program so that its output is kept, signals reach it, and nothing of it outlives the launcher."""

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from heirloom.launcher import reaper
from heirloom.launcher.failure import own_sentence, reason_of_failure
from heirloom.launcher.grace import grace_seconds
from heirloom.launcher.terminal import for_descriptor

REMEMBERED_LINES = 2000
LONGEST_LINE = 1 << 16
"""Bytes of a line that are remembered, its last ones."""
REPEATED_SECONDS = 2.0
"""After so long the same signal counts as a second wish; sooner it is the same one, sent to many processes."""


@dataclass(frozen=True)
class Outcome:
    """`error` is one sentence, empty when the exit code is 0."""

    exit_code: int
    error: str = ""


class Peers(Protocol):
    """The other hosts that run ranks of the same program, as this one's launcher sees them."""

    def started(self, running: "RunningProgram") -> None:
        """Hear that this host's program runs."""

    def signalled(self, number: int) -> None:
        """Hear, within a signal handler, that this host's program was asked to end."""

    def combined_outcome(self, own: Outcome) -> Outcome:
        """Return how the program has ended on all hosts, `own` being how it has here."""


class NoPeers:
    """Those of a host whose program runs nowhere else, or is spread by one command that ends with all of it."""

    def started(self, running: "RunningProgram") -> None:
        pass

    def signalled(self, number: int) -> None:
        pass

    def combined_outcome(self, own: Outcome) -> Outcome:
        return own


NO_PEERS = NoPeers()


class RunningProgram:
    """A program that runs, and the ways to end it: from a signal handler or from any thread."""

    def __init__(self, program: subprocess.Popen, signal_to_forward: Callable[[int], int]) -> None:
        """`signal_to_forward` returns the signal to send to the program when the launcher has got one."""
        self._program, self._signal_to_forward = program, signal_to_forward
        self._ended = threading.Event()
        self.signals: list[list[int]] = []
        """The signals that have asked it to end, each in a list of its own."""

    def forward_signal(self, number: int) -> bool:
        """Pass a signal on if it is the first one; the program is killed when it has not ended after the grace.

        Only the first: torchrun takes another one for an order to leave its ranks. Returns whether it was.
        """
        mine = [number]
        self.signals.append(mine)
        if self.signals[0] is not mine:  # so two at once, in a handler and in a thread, are told apart
            return False
        grace = grace_seconds()
        name = signal.Signals(number).name
        say(f"{name}: the program may take {grace:g} s to end; the same signal once more ends it at once")
        self._signal(self._signal_to_forward(number))
        signal.setitimer(signal.ITIMER_REAL, grace)
        return True

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if not self._ended.is_set() and self._program.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._program.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, so long at most; return whether it has."""
        return self._ended.wait(seconds)

    def mark_ended(self) -> None:
        """Hear that it has ended."""
        self._ended.set()


def run(
    command: list[str],
    variables: dict[str, str],
    log: Path,
    signal_to_forward: Callable[[int], int],
    peers: Peers = NO_PEERS,
) -> Outcome:
    """Run `command` in a process group of its own, its output copied to the terminal and to the file `log`.

    The first SIGTERM, SIGINT or SIGHUP goes on to the program, as the signal `signal_to_forward` of it, and to its
    `peers`; what has not ended `grace_seconds()` later is killed, or at once when the same signal comes again. When
    this process dies, even by SIGKILL, all of the program is killed.
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
    running = RunningProgram(program, signal_to_forward)
    with forwarded_signals(running, peers):
        peers.started(running)
        copy_output(program, log, lines)
        code = program.wait()
        running.mark_ended()
        reaper.kill_children()
        return peers.combined_outcome(outcome_of(code, lines, running))


def outcome_of(code: int, lines: deque[str], running: RunningProgram) -> Outcome:
    """Return how a program has ended whose last `lines` are these."""
    if running.signals:
        number = running.signals[0][0]
        name = signal.Signals(number).name
        said = own_sentence(lines) or f"stopped by {name}; started again, it goes on from what it has kept"
        return Outcome(128 + number, said)
    exit_code = code if code >= 0 else 128 - code
    return Outcome(exit_code, reason_of_failure(lines, exit_code) if exit_code else "")


@contextmanager
def forwarded_signals(running: RunningProgram, peers: Peers) -> Iterator[None]:
    """Let signals end the program while the block runs, here and on the peers.

    A signal that was ignored when this process began (nohup's SIGHUP) stays so.
    """
    first_at: dict[int, float] = {}

    def forward(number: int, _frame: object) -> None:
        now = time.monotonic()
        if now - first_at.setdefault(number, now) > REPEATED_SECONDS:
            running.kill()
        elif running.forward_signal(number):
            peers.signalled(number)

    def give_up(_number: int, _frame: object) -> None:
        running.kill()

    wanted = [number for number in reaper.FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in wanted}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def copy_output(program: subprocess.Popen, log: Path, lines: deque[str]) -> None:
    """Copy the program's output to the terminal and to the end of `log` as it comes, and remember its last lines.

    Ends with the program: a process that it left behind and that holds the pipe open does not delay us.
    """
    last = LastLines(lines)
    with log.open("ab", buffering=0) as file, selectors.DefaultSelector() as selector:
        copies = {
            name: (descriptor, for_descriptor(descriptor))
            for name, descriptor in ((str(log), file.fileno()), ("the terminal", sys.stdout.fileno()))
        }
        selector.register(program.stdout, selectors.EVENT_READ)
        ended_at = None
        while ended_at is None or time.monotonic() < ended_at + 1:
            chunk = os.read(program.stdout.fileno(), 65536) if selector.select(timeout=0.2) else None
            if chunk == b"":
                break
            if chunk:
                write_to_each(copies, chunk)
                last.add(chunk)
            elif ended_at is None and program.poll() is not None:
                ended_at = time.monotonic()
    last.end()


class LastLines:
    """Takes a program's output as it comes and remembers its lines, of a long one the end.

    A line is not complete for hours where a program draws its progress over itself (`\\r`), so the time for a piece
    must not grow with what has come before.
    """

    def __init__(self, lines: deque[str]) -> None:
        self._lines, self._open = lines, b""

    def add(self, chunk: bytes) -> None:
        """Take the next piece of the output."""
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            self._lines.append(self._ended_by(piece).decode("utf-8", "replace"))
            self._open = b""
        self._open = self._ended_by(rest)

    def _ended_by(self, piece: bytes) -> bytes:
        return (self._open + piece)[-LONGEST_LINE:]

    def end(self) -> None:
        """Hear that nothing more comes: a line that did not end is one too."""
        if self._open:
            self._lines.append(self._open.decode("utf-8", "replace"))


def write_to_each(copies: dict[str, tuple[int, Callable[[bytes], bytes]]], data: bytes) -> None:
    """Write `data` to each file descriptor, as it may have it; one that fails (a full disk, a closed terminal) is told
    of and left out.
    """
    for name, (descriptor, form) in list(copies.items()):
        rest = memoryview(form(data))
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
