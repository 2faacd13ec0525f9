"""How much work a function does, without a clock: the same number on a busy machine as on an idle one."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def lines_executed(function: Callable[[], Any]) -> int:
    """Return how many lines of Python `function` executes, those of compiled templates among them."""
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Callable:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines


@contextmanager
def watchdog(cpu_seconds: float = 60) -> Iterator[None]:
    """End what would go on for minutes or for ever. Not a measure: what is meant to pass takes a hundredth of it."""

    def bark(*_: Any) -> None:
        raise AssertionError(f"still at work after {cpu_seconds} seconds of CPU time")

    before = signal.signal(signal.SIGPROF, bark)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
