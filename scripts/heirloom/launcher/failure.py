"""Tell in one sentence why a program failed, from the last lines that its ranks printed."""

import re
from collections.abc import Iterable, Sequence

OWN_SENTENCE = re.compile(r"error(?: on rank \d+)?: (.+)")
"""What `heirloom.stage.run` prints for a user's mistake."""
EXCEPTION = re.compile(r"(?:\[rank\d+\]: ?)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning|NotFound)\b.*)")
TRACE = re.compile(r"(?:\[rank\d+\]: ?)?Traceback \(most recent call last\):")
LAUNCHER_OF_RANKS = "torch.distributed.elastic"
ROOT_CAUSE = re.compile(r"\s*rank\s*:\s*(\d+)")
EXIT_CODE = re.compile(r"\s*exitcode\s*:\s*(-?\d+)")


def reason_of_failure(lines: Iterable[str], exit_code: int) -> str:
    """Return the first cause that the lines tell: a user's mistake, else an exception, else a signal.

    The first, because a rank that fails takes the others down with errors about a lost connection.
    """
    lines = list(lines)
    for line in lines:
        if match := OWN_SENTENCE.fullmatch(line.strip()):
            return match[1]
    return first_exception(lines) or killed_rank(lines) or f"its program ended with exit code {exit_code}"


def first_exception(lines: Sequence[str]) -> str | None:
    """Return the line `SomeError: message` that ends the first trace; torchrun's own trace does not count."""
    inside = False
    for line in lines:
        if TRACE.match(line):
            inside = True
        elif inside and (match := EXCEPTION.match(line)) and not match[1].startswith(LAUNCHER_OF_RANKS):
            return match[1]
    return None


def killed_rank(lines: Sequence[str]) -> str | None:
    """Return which rank a signal killed, as torchrun's summary of the root cause tells it."""
    rank = None
    root = next((index for index, line in enumerate(lines) if line.startswith("Root Cause")), len(lines))
    for line in lines[root:]:
        if match := ROOT_CAUSE.match(line):
            rank = match[1]
        elif (match := EXIT_CODE.match(line)) and int(match[1]) < 0:
            hint = " (the machine may be out of memory: a smaller per_device_train_batch_size needs less)"
            number = -int(match[1])
            return f"rank {rank} was killed by signal {number}{hint if number == 9 else ''}"
    return None
