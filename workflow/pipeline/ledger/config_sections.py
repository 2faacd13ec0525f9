"""The sections of config files as they are now, parsed once a content."""

import functools
import hashlib
from pathlib import Path

from heirloom.config.parsing.reading import read_yaml
from pipeline.paths import CACHE
from pipeline.remembering import recall, remember

_VERSION = 1


def config_sections():
    """Return a function: config file → its parsed content, remembered by the hash of the file."""
    file = CACHE / "sections.json"
    known = recall(file, _VERSION)

    @functools.cache
    def sections(path: str) -> dict:
        if not Path(path).exists():
            return {}
        key = hashlib.md5(Path(path).read_bytes()).hexdigest()
        if key not in known:
            known[key] = read_yaml(Path(path)) or {}
            remember(file, _VERSION, known)
        return known[key]

    return sections
