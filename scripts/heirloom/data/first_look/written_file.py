"""A file of config/ that a program writes for its reader to go on with."""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from heirloom.errors import plain


def write_config_file(file: Path, schema: str, value: dict[str, Any], comments: list[str]) -> None:
    """Write `value` below its schema's line and `comments`, of which each is one line whatever it quotes."""
    text = io.StringIO()
    YAML().dump(value, text)
    lines = [f"yaml-language-server: $schema=../../workflow/schemas/{schema}.schema.json", *comments]
    head = "".join(f"# {' '.join(plain(words).split())}\n" for words in lines)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(head + text.getvalue(), encoding="utf-8")
