"""The reason of a failure: of several hosts' errors the first in time, in the file that SageMaker shows a person."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

LONGEST = 1000  # characters; SageMaker keeps 1024, and writes some of its own before them


@dataclass(frozen=True)
class Failure:
    """What went wrong on a host, and when (seconds since 1970)."""

    host: str
    text: str
    time: float

    @classmethod
    def now(cls, host: str, text: str) -> "Failure":
        """Return a failure of this moment."""
        return cls(host, text, time.time())

    @classmethod
    def read(cls, value: object) -> "Failure | None":
        """Return the failure that another host tells of, its text without what acts on a terminal; None for none."""
        if not isinstance(value, dict):
            return None
        host, text, moment = (value.get(key) for key in ("host", "text", "time"))
        if not (
            isinstance(host, str) and isinstance(text, str) and isinstance(moment, int | float) and abs(moment) < 1e12
        ):
            return None
        return cls(host[:200], shown(text)[-10 * LONGEST :], float(moment))

    def as_dict(self) -> dict:
        """Return what Failure(**…) takes."""
        return asdict(self)

    def sentence(self) -> str:
        """Return host and text, the end of the text when it is long."""
        text = f"{self.host}: {self.text}"
        return text if len(text) <= LONGEST else f"{self.host}: …{self.text[-(LONGEST - len(self.host) - 3) :]}"


def shown(text: str) -> str:
    """Return a text of anybody's with what acts on a terminal as its code."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)


def failure_file(root: Path) -> Path:
    """Return the file that SageMaker reads FailureReason from; a command may write it when it knows its first error."""
    return root / "output/failure"


def failure_of(host: str, code: int, tail: str, root: Path) -> Failure:
    """Return the failure of a command that ended with CODE: what it wrote to the failure file, else its last output."""
    file = failure_file(root)
    if file.is_file() and file.stat().st_size:
        return Failure(host, file.read_text(errors="replace", encoding="utf-8").strip(), file.stat().st_mtime)
    return Failure.now(host, f"the command ended with exit status {code}\n{tail}".rstrip())


def write_failure(failure: Failure, root: Path) -> None:
    """Write the failure file."""
    failure_file(root).write_text(failure.sentence(), encoding="utf-8")
