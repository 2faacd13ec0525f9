"""How times and lines are written."""

import time

INDENT = " " * 10
"""Under the clock."""


def line(word: str, name: str, *more: str) -> str:
    """Return `14:02:53  done      train-demo-sft  42 s`."""
    return "  ".join([time.strftime("%H:%M:%S"), f"{word:8}", name, *filter(None, more)])


def duration(seconds: float | int) -> str:
    """Return `4.2 s`, `42 s`, `3 min 07 s` or `1 h 03 min`; whole seconds stay so."""
    if seconds < 9.95 and not isinstance(seconds, int):
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def clock(seconds: float) -> str:
    """Return h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
