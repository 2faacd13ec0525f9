"""The sections of config files as they are now, parsed once a content."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from heirloom.config.parsing.reading import read_yaml
from heirloom.config.sweeps.members import Member
from pipeline.paths import CACHE
from pipeline.remembering import recall, remember

_VERSION = 1


def config_sections(members: Mapping[str, Member] = MappingProxyType({})):
    """Return a function: config file → its parsed content, remembered by the hash of the file.

    Of the runs of sweeps (`members`) it is what their files will say, whether they are written or not: for who plans,
    as a plan writes nothing. Who executes asks without them, for what the programs read.
    """
    file = CACHE / "sections.json"
    known = recall(file, _VERSION)
    learnt = 0

    @functools.cache
    def sections(path: str) -> dict:
        nonlocal learnt
        if path in members:
            return members[path].value
        if not Path(path).exists():
            return {}
        key = hashlib.md5(Path(path).read_bytes()).hexdigest()
        if key not in known:
            known[key] = read_yaml(Path(path)) or {}
            learnt += 1
            if learnt.bit_count() == 1:  # 1, 2, 4, …: each file anew would grow with their square
                remember(file, _VERSION, known)
        return known[key]

    return sections
