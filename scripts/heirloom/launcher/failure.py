"""Tell in one sentence why a program failed, from the last lines that its ranks printed."""

import re
import signal
from collections.abc import Iterable, Sequence

from heirloom.failures import MORE_MEMORY, TIMEOUT_TEXTS, collective_timeout

OWN_SENTENCE = re.compile(r"error(?: on rank \d+)?: (.+)")
"""What `heirloom.stage.run` prints for a user's mistake, and for memory, disk and ranks that waited in vain."""
EXCEPTION = re.compile(r"(?:\[rank\d+\]: ?)*((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning|NotFound)\b.*)")
TRACE = re.compile(r"(?:\[rank\d+\]: ?)*Traceback \(most recent call last\):")
LAUNCHER_OF_RANKS = "torch.distributed.elastic"
LOST_CONNECTION = re.compile(
    r"[Cc]onnection (?:closed|reset|refused)|Broken pipe|remote process exited|ncclRemoteError"
)
"""What a rank says when another one is gone."""
CONSEQUENCE = re.compile(r"^(?:\S+: )?(?:stopped by SIG|its program ended with)|for another rank in vain")
FAILED_RANK = re.compile(r"\s*rank\s*:\s*(\d+)")
EXIT_CODE = re.compile(r"\s*exitcode\s*:\s*(-?\d+) \(pid: (\d+)\)")
KILLED_BY_TORCHRUN = re.compile(r".*Unable to shutdown process (\d+) ")
"""torchrun ends the other ranks once one has failed: by SIGTERM, and by SIGKILL where that does not help."""


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


def is_consequence(reason: str) -> bool:
    """Say whether a reason may have its cause on another host: a lost connection, an end that another one asked for."""
    return bool(CONSEQUENCE.search(reason) or LOST_CONNECTION.search(reason))


def own_sentence(lines: Sequence[str]) -> str | None:
    """Return the first sentence that a script of ours said about its end; of a list, its head and its first entry."""
    for place, line in enumerate(lines):
        if match := OWN_SENTENCE.fullmatch(line.strip()):
            entry = lines[place + 1].strip() if match[1].endswith(":") and place + 1 < len(lines) else ""
            return f"{match[1]} {entry}".strip()
    return None


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
    """Return which rank a signal killed, by torchrun's summary of the ranks that failed.

    What the summary calls the root cause may be a rank that failed in the same second because of the killed one. A rank
    that aborted comes last: it does that to itself, often in answer to the end of another.
    """
    ended_by_torchrun = {match[1] for line in lines if (match := KILLED_BY_TORCHRUN.match(line))}
    rank, killed = "", []
    for line in lines:
        if match := FAILED_RANK.match(line):
            rank = match[1]
        elif (match := EXIT_CODE.match(line)) and match[2] not in ended_by_torchrun:
            number = -int(match[1])
            if number > 0 and number != signal.SIGTERM:
                killed.append((number == signal.SIGABRT, rank, number))
    if not killed:
        return None
    _, rank, number = min(killed)
    hint = f"; unless someone did that, the machine ran out of memory: {MORE_MEMORY}" if number == 9 else ""
    return f"rank {rank} was killed by signal {number}{hint}"
