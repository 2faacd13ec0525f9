"""How long a program may take to end after a signal."""

import os
import sys

VARIABLE = "HEIRLOOM_GRACE_SECONDS"
DEFAULT = 110.0
"""SageMaker kills what still runs 120 seconds after SIGTERM. Where less is given (Slurm's KillWait: 30 seconds) this
does no harm: a training that is killed while it writes a checkpoint goes on from the one before."""


def grace_seconds() -> float:
    """Return HEIRLOOM_GRACE_SECONDS, else DEFAULT; exit with a sentence where it is no positive number."""
    given = os.environ.get(VARIABLE, str(DEFAULT))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        sys.exit(f"launch.py: {VARIABLE} is {given!r}: must be a number of seconds above 0, for example {DEFAULT:g}")
    return seconds
