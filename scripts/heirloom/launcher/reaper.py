"""Run a command so that nothing of it survives: `python reaper.py COMMAND…` stands between launcher and program.

A launcher that dies by SIGKILL can end nothing any more. torchrun and its ranks die with their parent because they ask
the kernel for it, but what a rank has started (a compiler, a helper of a library) asks for nothing and would go on. All
that becomes the child of this process when its parent dies, and is killed when the launcher or the program has ended.

It imports next to nothing: a stage's start costs 20 ms of CPU more.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LAUNCHER_DIED = signal.SIGUSR1
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that the launcher sends to the whole process group: they are the program's to act on."""

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask the kernel to send this process a signal when the process that started it dies."""
    _libc.prctl(PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_children() -> None:
    """Kill and reap every process that is our child, and what becomes our child by that."""
    while numbers := children():
        for number in numbers:
            try:
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
            except (ProcessLookupError, ChildProcessError):  # reaped meanwhile
                continue


def children() -> list[int]:
    """Return the process numbers of our children; none where there is no /proc."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(number) for number in file.read().split()]
    except FileNotFoundError:
        return []


def main() -> int:
    """Run the command to its end; return its exit code, 128 + n where signal n ended it."""

    received: list[int] = []

    def end_all(_number: int, _frame: object) -> None:
        kill_children()
        os._exit(128 + signal.SIGKILL)

    adopt_orphans()
    signal.signal(LAUNCHER_DIED, end_all)
    handled = [number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, lambda number, _frame: received.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    program = os.fork()
    if program == 0:
        become_program(handled)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
    for number in received:  # before there was a program
        os.kill(program, number)

    ended, status = 0, 0
    while ended != program:
        ended, status = os.wait()  # orphans too
    kill_children()
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def become_program(blocked: list[int]) -> None:
    """Execute the command in this process, with the signals as a new process expects them."""
    die_with_parent()
    for number in (LAUNCHER_DIED, *blocked, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main())
