"""What the doctor finds: one fact, what it means for a training, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters: OK; NOTE is worth knowing; WARNING will cost something; ERROR stops a training.

    SKIPPED was not looked at, as asked for.
    """

    OK = "ok"
    SKIPPED = "skipped"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """`found` is the fact itself. `meaning` and `remedy` are empty where all is well."""

    subject: str
    level: Level
    found: str
    meaning: str = ""
    remedy: str = ""


def ok(subject: str, found: str) -> Finding:
    return Finding(subject, Level.OK, found)


def skipped(subject: str, found: str, meaning: str) -> Finding:
    return Finding(subject, Level.SKIPPED, found, meaning)


def note(subject: str, found: str, meaning: str, remedy: str = "") -> Finding:
    return Finding(subject, Level.NOTE, found, meaning, remedy)


def warning(subject: str, found: str, meaning: str, remedy: str) -> Finding:
    return Finding(subject, Level.WARNING, found, meaning, remedy)


def error(subject: str, found: str, meaning: str, remedy: str) -> Finding:
    return Finding(subject, Level.ERROR, found, meaning, remedy)
