"""The user's mistakes, told in one sentence.

    HeirloomError (ValueError)      what is wrong, where, what was expected, what to do
    ├── ConfigErrors                every mistake in config/ at once (heirloom.config.project)
    └── InterruptionError           a signal stopped the training (heirloom.training.callbacks.interruption)

A script that ends with `stage.run(main)` prints such an error without a trace; anything else is a defect of
ours and keeps its trace.
"""

import json
import re

_UNSHOWN = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]")


def plain(text: str, code: str = r"\x{:02x}") -> str:
    """Return a text of anybody's for a terminal or a page: what acts there (escapes, turned writing) as its code."""
    return _UNSHOWN.sub(lambda found: code.format(ord(found[0])), text)


def plain_json(value: object) -> str:
    """Return a value as JSON of many lines for a terminal, in any script; what acts there is escaped as JSON does."""
    return plain(json.dumps(value, indent=2, ensure_ascii=False), r"\u{:04x}")


class HeirloomError(ValueError):
    """A mistake that the user can mend; the message names the place and the remedy."""

    def __init__(self, message: object = "") -> None:
        super().__init__(plain(str(message)))

    exit_code = 1
    """What a script's process ends with."""
