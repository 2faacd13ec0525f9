"""Which way a stage takes through the code: the choices of its command and config that code branches by.

Two stages of one combination differ in numbers, names and data. What is left out of a combination is what no branch
of weight hangs on: learning rates, sizes, seeds, texts.
"""

import shlex
from pathlib import PurePath
from typing import Any

from pipeline.graph import SETTINGS, settings_in

FLAGS = ("--deepspeed", "--attn_implementation", "--trust_remote_code", "--metric", "--trainer")
"""Flags of the command whose value counts; of all others it counts that they are there."""


def combination(stage: str, entry: dict) -> str:
    """Return the combination of a stage with this entry: its kind, program, flags, and the choices of its config."""
    try:
        words = shlex.split(entry["cmd"])
    except ValueError:  # no command of ours
        words = entry["cmd"].split()
    program = next((word for word in words[2:] if word.endswith(".py")), "")
    parts = [stage.partition("-")[0], PurePath(program).stem]
    for place, word in enumerate(words):
        if word.startswith("--") and word not in ("--config", "--sections", "--output", *SETTINGS):
            value = words[place + 1] if word in FLAGS and place + 1 < len(words) else ""
            parts.append(f"{word.removeprefix('--')}{f'={PurePath(value).stem}' if value else ''}")
    own = next((words[place + 1] for place, word in enumerate(words[:-1]) if word == "--config"), None)
    sections = entry.get("params", {}).get(own, {}) | settings_in(entry["cmd"])
    parts += [text for name in sorted(sections) for text in choices(sections[name], name)]
    return " ".join(parts)


def choices(value: Any, path: str) -> list[str]:
    """Return the choices that a section of the config makes: names, switches, and that a number or a text is given.

    A list of names counts by its names; a dict by its keys and their choices.
    """
    if isinstance(value, dict):
        return [path] if not value else [text for key in sorted(value) for text in choices(value[key], f"{path}.{key}")]
    if isinstance(value, bool) or value is None:
        return [f"{path}={value}"]
    if isinstance(value, str) and value.isidentifier():
        return [f"{path}={value}"]
    if isinstance(value, list) and value and all(isinstance(item, str) and len(item) < 40 for item in value):
        return [f"{path}={','.join(value)}"]
    return [path]
