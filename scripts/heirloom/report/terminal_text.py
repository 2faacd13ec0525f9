"""Text for terminals that cannot show every character, and that would obey some."""

import sys
import unicodedata

KEPT = "\n\t"
BEGIN_PICTURES = 0x2400
"""Where Unicode has pictures of the control characters 0 to 31 (␀ to ␟); that of 127 is ␡."""


def forgive_characters() -> None:
    """Let a character that the terminal's encoding does not have be printed as `?` instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def without_commands(text: str, kept: str = KEPT) -> str:
    """Return a model's text with pictures in place of control characters, except those `kept`.

    A terminal would take them for commands: escape sequences move its cursor, set its title or its character set.
    Controls that have no picture, and those that turn the direction of text, become `?`.
    """
    return "".join(character if character in kept else harmless(character) for character in text)


def harmless(character: str) -> str:
    """Return what is shown of a character."""
    code = ord(character)
    if code < 32:
        return chr(BEGIN_PICTURES + code)
    if code == 127:
        return "␡"
    turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return "?" if turns or unicodedata.category(character) in ("Cc", "Cs") else character
