"""What CHANGELOG.md says of each kind of stage: are the bytes those of the version before, and if not, why."""

import re

from heirloom.errors import HeirloomError
from pipeline.graph import KINDS

SAME = "same bytes"
SECTION = re.compile(r"^## \[(.+?)\].*\n((?:(?!## ).*\n?)*)", re.MULTILINE)
LINE = re.compile(r"- `(\w+)`: (same bytes|other bytes: \S.*)")


def versions(text: str) -> dict[str, str]:
    """Return version (or Unreleased) → its section of CHANGELOG.md, the newest first."""
    return {match[1]: match[2] for match in SECTION.finditer(text)}


def bytes_told(text: str, version: str | None = None) -> dict[str, str]:
    """Return kind of stage → `same bytes` or `other bytes: WHY` of a version; None: of the newest section.

    Raises HeirloomError where the section or one of its kinds is missing, said twice, or said in another form.
    """
    found = versions(text)
    version = version or next(iter(found), "Unreleased")
    listed = re.search(r"^### Bytes\n((?:(?!#).*\n?)*)", found.get(version, ""), re.MULTILINE)
    lines = [line for line in (listed[1].splitlines() if listed else ()) if line.startswith("- ")]
    wrong = [line for line in lines if not LINE.fullmatch(line)]
    told = [LINE.fullmatch(line).groups() for line in lines if line not in wrong]
    if wrong or sorted(kind for kind, _ in told) != sorted(KINDS):
        raise HeirloomError(
            f"CHANGELOG.md, [{version}]: `### Bytes` has one line for each kind of stage ({', '.join(KINDS)}), "
            f"- `KIND`: {SAME} or - `KIND`: other bytes: WHY{f'; this is none: {wrong[0]}' if wrong else ''}"
        )
    return dict(told)
