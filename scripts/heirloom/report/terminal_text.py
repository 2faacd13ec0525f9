"""Text for terminals that cannot show every character."""

import sys


def forgive_characters() -> None:
    """Let a character that the terminal's encoding does not have be printed as `?` instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
