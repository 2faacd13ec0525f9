"""The one line that tells why a job failed, from the files that it has written."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

MOST_BYTES = 1 << 18
OWN = re.compile(r"(?:\S+: )?error(?: on rank \d+)?: (.+)")
"""What a program says that knows why it ends."""
EXCEPTION = re.compile(r"(?:\[rank\d+\]: ?)*((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b(?:: .*)?)")
NO_CAUSE = "what it said is above"
"""What a program says that only passes another one's failure on."""
OTHER = re.compile(r"(?:ERROR|FATAL|fatal|CRITICAL)[: ]+(.+)")

ACTS = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
"""What acts on a terminal; an exception's words may be anybody's, such as those of a row."""


def cause(name: str, files: Iterable[Path]) -> str | None:
    """Return why the job `name` failed, by the first of the files that tells, None where none does.

    `NAME failed: …` is better than an error of the program's own, that is better than an exception, and the last of a
    kind is better than those before, except of an error of its own: that one is the cause of what comes after.
    """
    texts = [list(last_lines(file)) for file in files]
    named = re.compile(rf"{re.escape(name)} failed: (.+)")
    for pattern, which in ((named, -1), (OWN, 0), (EXCEPTION, -1), (OTHER, -1)):
        for lines in texts:
            found = [match[1] for line in lines if (match := pattern.fullmatch(line)) and NO_CAUSE not in match[1]]
            if found:
                return ACTS.sub(lambda character: f"\\x{ord(character[0]):02x}", found[which])
    return None


def last_lines(file: Path) -> Iterator[str]:
    """Yield the last lines of a file that hold something; none when it cannot be read."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - MOST_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return
    for line in text.splitlines():
        if line.strip():
            yield line.strip()
