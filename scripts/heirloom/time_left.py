"""The time left of long work, as lines of progress state it."""

SECONDS_BETWEEN_LINES = 5.0
"""Where work has no steps of its own to count by."""


def time_left(seconds: float) -> str:
    """Return `h:mm:ss left`. Lines of progress begin with `WORD DONE/TOTAL`: what shows them elsewhere reads both."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} left"
