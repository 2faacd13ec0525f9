"""PID 1 of the image: `entrypoint.py COMMAND…` runs a command so that signals reach everything that it started.

As PID 1 a program without handlers ignores SIGTERM, and the engine kills it ten seconds later with the checkpoint
unwritten. An ordinary init passes the signal on and then leaves as soon as its child has: with `dvc repro` that is at
once, and the kernel kills the launcher, which still has a training to end. So after a signal this one waits for
everything in the container, at most $HEIRLOOM_GRACE_SECONDS (110) and five more.

Exit code: the command's, 128 + n where signal n ended it, 127 where there is no such command.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from heirloom.launcher import reaper
from heirloom.launcher.grace import grace_seconds

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
MARGIN = 5.0
"""Seconds beyond the launcher's own grace, in which it kills what has not ended and says so."""


def main() -> int:
    """Run the command to its end; return the exit code of the container."""
    if len(sys.argv) < 2:
        print("entrypoint.py: no command: give one, for example `doctor`", file=sys.stderr)
        return 2
    grace = grace_seconds() + MARGIN
    reaper.adopt_orphans()  # where the engine has an init of its own, we are not PID 1
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    command = os.fork()
    if command == 0:
        reaper.become_program(own_group())
    with suppress(ProcessLookupError, PermissionError):  # both do it, so that neither has to wait for the other
        os.setpgid(command, command)
    deadline = None

    def pass_on(number: int, _frame: object) -> None:
        nonlocal deadline
        with suppress(ProcessLookupError):
            os.killpg(command, number)
        if number in ENDING and deadline is None:
            deadline = time.monotonic() + grace

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)

    ended, status = 0, 0
    while ended != command:
        ended, status = os.wait()  # orphans too
    while deadline is not None and reaper.children() and time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.05)
    reaper.kill_children()
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def own_group() -> tuple[int, ...]:
    """Become a process group, in the foreground where there is a terminal; return the signals to unblock."""
    os.setpgid(0, 0)
    if os.isatty(0):
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else the kernel stops us here
        os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    return PASSED_ON


if __name__ == "__main__":
    sys.exit(main())
