"""What CHANGELOG.md says of each kind of stage: are the bytes those of the version before, and if not, why."""

import re
from contextlib import suppress
from pathlib import Path

from heirloom.errors import HeirloomError
from pipeline.git import git
from pipeline.graph import KINDS

FILE = "CHANGELOG.md"
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


def bytes_since(commit: str, kind: str) -> list[str]:
    """Return what the versions whose sections are not as at a commit say of a kind of stage, the newest first.

    Nothing of a section without the list, or where there is no CHANGELOG.md.
    """
    earlier, found = "", []
    with suppress(HeirloomError):  # the commit had none
        earlier = git("show", f"{commit}:./{FILE}")
    text = Path(FILE).read_text(encoding="utf-8") if Path(FILE).is_file() else ""
    before = versions(earlier)
    for version in (name for name, section in versions(text).items() if section != before.get(name)):
        with suppress(HeirloomError):
            found.append(f"[{version}] `{kind}`: {bytes_told(text, version)[kind]}")
    return found
