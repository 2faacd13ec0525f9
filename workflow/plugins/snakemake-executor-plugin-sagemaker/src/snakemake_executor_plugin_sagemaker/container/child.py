"""The command of this host, run by PID 1: output goes through here without secrets, SIGTERM goes on to all of it.

A shell that gets SIGTERM ends at once, while the program under it may still be writing a checkpoint. That program then
belongs to PID 1, which waits for it: when PID 1 ends, the kernel kills all that is left.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque

from ..secrets import LeakGuard

# SageMaker kills 120 s after SIGTERM; results and failure have to be written in what remains.
STOP_SECONDS = 112
_TAIL_LINES = 200
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 16  # bytes of a line that are waited for
_PR_SET_CHILD_SUBREAPER = 36


class Child:
    """A shell command in a session of its own."""

    def __init__(self, guard: LeakGuard):
        self.guard = guard
        self._process = None
        self._lock = threading.Lock()
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self.terminated_at: float | None = None

    def start(self, command: str, environment: dict[str, str], directory) -> None:
        """Start COMMAND with bash, unless the job was terminated before."""
        _adopt_orphans()
        with self._lock:
            if self.terminated_at is not None:
                return
            self._process = subprocess.Popen(
                ["/bin/bash", "-c", command],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pump = threading.Thread(target=self._forward_output, daemon=True)
        self._pump.start()

    def terminate(self) -> None:
        """Send SIGTERM to all processes of the command; before its start: let it never start."""
        with self._lock:
            if self.terminated_at is None:
                self.terminated_at = time.monotonic()
            if self._process is not None and self._process.returncode is None:
                self._signal(signal.SIGTERM)
                # SageMaker kills after its own SIGTERM; after one because of another host nobody else would.
                timer = threading.Timer(STOP_SECONDS, self._signal, [signal.SIGKILL])
                timer.daemon = True
                timer.start()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self) -> int:
        """Wait for the command, and after SIGTERM for all that it has started; return its exit status.

        A command that a signal has ended counts as 128 + signal, as in a shell.
        """
        if self._process is None:
            return 128 + signal.SIGTERM
        while self._process.returncode is None:
            # PID 1 is the parent of every orphan: take whatever ends, or zombies pile up.
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                raise AssertionError("the command was waited for elsewhere") from None
            if pid == self._process.pid:
                with self._lock:
                    self._process.returncode = os.waitstatus_to_exitcode(status)
        if self.terminated_at is not None:
            self._wait_for_orphans(self.terminated_at + STOP_SECONDS)
        self._pump.join(timeout=2)
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def _wait_for_orphans(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                time.sleep(0.05)

    def _forward_output(self) -> None:
        held = b""
        while chunk := self._process.stdout.read1(_CHUNK):
            *lines, held = (held + chunk).splitlines(keepends=True)
            if held.endswith((b"\n", b"\r")):
                lines, held = [*lines, held], b""
            elif len(held) > _LONGEST_LINE + self.guard.longest:  # of an open line what may begin a secret is held back
                clean = self.guard.redact(held)
                cut = max(len(clean) - self.guard.longest, 0)
                lines, held = [*lines, clean[:cut]], clean[cut:]
            for line in lines:
                self._show(line)
        if held:
            self._show(held)

    def _show(self, line: bytes) -> None:
        clean = self.guard.redact(line)
        self._tail.append(clean)
        sys.stdout.buffer.write(clean)
        sys.stdout.buffer.flush()

    def tail(self, characters: int) -> str:
        """Return the end of the output, whole lines, so many characters at most."""
        lines, left = [], characters
        for line in reversed(list(self._tail)):
            text = line.decode(errors="replace").rstrip()
            left -= len(text) + 1
            if left < 0:
                break
            if text:
                lines.append(text)
        return "\n".join(reversed(lines))


def _adopt_orphans() -> None:
    """Become the parent of orphans also where this is not PID 1 (a test without namespaces)."""
    if os.getpid() != 1 and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
