"""The command line of a stage: made here, and read here."""

import json
import re
import shlex
from itertools import pairwise

SETTINGS = ("--generation", "--training", "--quantization")
"""Flags whose value is a section of a config, as JSON: of stages that no single file of config/ decides."""


def command(starter: str, script: str, subject, sections: list[str], **flags) -> str:
    """Return the command line; a flag that is None is left out, a list gives several values.

    `subject`: what is described by the file of config/ that the program reads; None where it reads none.
    """
    words = ["python", "scripts/launch.py", starter, script]
    if subject is not None:
        words += ["--config", str(subject.path)]
    if sections:
        words += ["--sections", ",".join(sections)]
    for flag, value in flags.items():
        if value is not None:
            words += [f"--{flag}", *(value if isinstance(value, list) else [value])]
    return shlex.join(words)


def launched(command: str) -> list[str]:
    """Return the words of a command line that follow `python scripts/launch.py`."""
    return shlex.split(command)[2:]


def settings_in(command: str) -> dict[str, dict]:
    """Return the sections of a config that stand in a command line itself (`--generation {…}`), by the flag's name."""
    try:
        words = shlex.split(command)
        found = {flag: json.loads(value) for flag, value in pairwise(words) if flag in SETTINGS}
    except ValueError:  # no command of ours
        return {}
    return {flag.removeprefix("--"): value for flag, value in found.items() if isinstance(value, dict)}


def shown(command: str) -> str:
    """Return a command line as one line.

    A line break or another control character stands as bash writes it ($'\\n'): it is within single quotes always, as
    `shlex` quotes every word that has one.
    """
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"'${found[0]!r}'", command)


def flags_of(command: str) -> dict[str, str]:
    """Return flag → its values; what stands before the first flag is the program."""
    found: dict[str, list[str]] = {"program": []}
    flag = "program"
    for word in command.split():
        if word.startswith("--"):
            flag = word
            found[flag] = []
        else:
            found[flag].append(word)
    return {flag: " ".join(values) for flag, values in found.items()}
