"""Tell in one sentence why a program failed, from the last lines that its ranks printed."""

import re
from collections.abc import Iterable, Sequence

from heirloom.failures import MORE_MEMORY, TIMEOUT_TEXTS, collective_timeout

OWN_SENTENCE = re.compile(r"error(?: on rank \d+)?: (.+)")
"""What `heirloom.stage.run` prints for a user's mistake, and for memory, disk and ranks that waited in vain."""
EXCEPTION = re.compile(r"(?:\[rank\d+\]: ?)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning|NotFound)\b.*)")
TRACE = re.compile(r"(?:\[rank\d+\]: ?)?Traceback \(most recent call last\):")
LAUNCHER_OF_RANKS = "torch.distributed.elastic"
LOST_CONNECTION = re.compile(
    r"[Cc]onnection (?:closed|reset|refused)|Broken pipe|remote process exited|ncclRemoteError"
)
"""What a rank says when another one is gone."""
ROOT_CAUSE = re.compile(r"\s*rank\s*:\s*(\d+)")
EXIT_CODE = re.compile(r"\s*exitcode\s*:\s*(-?\d+)")


def reason_of_failure(lines: Iterable[str], exit_code: int) -> str:
    """Return the first cause that the lines tell: a sentence of ours, an exception, a timeout, a signal.

    The first, because a rank that fails takes the others down with errors about a lost connection.
    """
    lines = list(lines)
    errors = exceptions(lines)
    return (
        own_sentence(lines)
        or next((error for error in errors if not LOST_CONNECTION.search(error)), None)
        or watchdog(lines)
        or killed_rank(lines)
        or next(iter(errors), None)
        or f"its program ended with exit code {exit_code}"
    )


def own_sentence(lines: Iterable[str]) -> str | None:
    """Return the first sentence that a script of ours said about its end."""
    return next((match[1] for line in lines if (match := OWN_SENTENCE.fullmatch(line.strip()))), None)


def exceptions(lines: Sequence[str]) -> list[str]:
    """Return the lines `SomeError: message` that end traces; torchrun's own do not count."""
    found = []
    inside = False
    for line in lines:
        if TRACE.match(line):
            inside = True
        elif inside and (match := EXCEPTION.match(line)):
            inside = False
            if not match[1].startswith(LAUNCHER_OF_RANKS):
                found.append(match[1])
    return found


def watchdog(lines: Iterable[str]) -> str | None:
    """Return what NCCL's watchdog says before it ends the process of a rank that waits for another one."""
    line = next((line for line in lines if "Watchdog caught" in line), "")
    match = TIMEOUT_TEXTS.search(line)
    return collective_timeout("a rank", match[1] or match[2]) if match else None


def killed_rank(lines: Sequence[str]) -> str | None:
    """Return which rank a signal killed, as torchrun's summary of the root cause tells it."""
    rank = None
    root = next((index for index, line in enumerate(lines) if line.startswith("Root Cause")), len(lines))
    for line in lines[root:]:
        if match := ROOT_CAUSE.match(line):
            rank = match[1]
        elif (match := EXIT_CODE.match(line)) and int(match[1]) < 0:
            number = -int(match[1])
            hint = f"; unless someone did that, the machine ran out of memory: {MORE_MEMORY}" if number == 9 else ""
            return f"rank {rank} was killed by signal {number}{hint}"
    return None
