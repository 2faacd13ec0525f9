"""Ask which known holes the locked packages have: `make audit`, or `python scripts/audit.py [LOCK ...]`.

pip-audit compares envs/*.txt with PyPI's advisories and installs nothing. Exit code: 0 no hole is known, 1 there are
holes, 3 not every package could be looked up, so nothing is known of it. pip-audit itself ends with 0 there.
"""

import heirloom  # noqa: F401  first: it says in one sentence which library is not installed

# isort: split
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from heirloom.errors import plain

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = REPOSITORY / ".venv/audit/bin/pip-audit"
OPTIONS = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)\s*(?:;(?P<marker>[^\\]*))?")
NO_HOLE, HOLES, UNSEEN = 0, 1, 3
SHOWN = 5

Package = tuple[str, str]
"""Name, as PyPI writes it, and version."""


def pinned(lock: Path) -> Iterator[Package]:
    """Yield what a lock pins for a machine like this one."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        found = PINNED.match(line)
        if found and (not found["marker"] or Marker(found["marker"].strip()).evaluate()):
            yield canonicalize_name(found["name"]), found["version"]


def batches(packages: Iterable[Package]) -> list[dict[str, str]]:
    """Part packages so that each part has one version of a name, which pip-audit wants."""
    parts: list[dict[str, str]] = []
    for name, version in sorted(set(packages)):
        part = next((part for part in parts if name not in part), None)
        if part is None:
            parts.append(part := {})
        part[name] = version
    return parts


def ask(program: str, part: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return (a line for each hole, a line for each package that was not looked up)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in part.items()), encoding="utf-8")
        done = subprocess.run(
            [program, *OPTIONS, "--requirement", str(file)], capture_output=True, text=True, check=False
        )
    try:
        answers = {canonicalize_name(each["name"]): each for each in json.loads(done.stdout)["dependencies"]}
    except (ValueError, KeyError, TypeError):
        answers = {}
    why = (done.stderr.strip().splitlines() or ["pip-audit says nothing"])[-1]
    holes, unseen = [], []
    for name, version in part.items():
        answer = answers.get(name, {"skip_reason": why})
        if answer.get("version") == version and isinstance(answer.get("vulns"), list):
            holes += [hole_of(name, version, hole) for hole in answer["vulns"]]
        else:
            unseen.append(f"{name} {version}: {answer.get('skip_reason') or why}")
    return holes, unseen


def hole_of(name: str, version: str, hole: dict) -> str:
    """Return the line that tells a hole."""
    aliases = ", ".join([hole["id"], *hole.get("aliases", [])])
    mended = ", ".join(hole.get("fix_versions", [])) or "no version yet"
    return f"{name} {version}: {aliases}; mended in {mended}"


def main(locks: list[str]) -> int:
    """Print what is known of the packages that the locks pin, those of envs/ if none is named; return the exit code."""
    files = [Path(lock) for lock in locks] or sorted((REPOSITORY / "envs").glob("*.txt"))
    program = str(PROGRAM) if PROGRAM.is_file() else shutil.which("pip-audit")
    if program is None:
        print("audit: pip-audit is not here, so nothing is known: `make audit` installs it", file=sys.stderr)
        return UNSEEN
    packages = {package for file in files for package in pinned(file)}
    if not packages:
        print(f"audit: {', '.join(map(str, files)) or 'envs/'} pins no package: name a lock", file=sys.stderr)
        return UNSEEN
    found = [ask(program, part) for part in batches(packages)]
    holes, unseen = ([line for part in found for line in part[kind]] for kind in (0, 1))
    for line in holes:
        print(plain(line))
    if unseen:
        more = f"\n  … and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
        listed = "".join(f"\n  {plain(line)}" for line in unseen[:SHOWN])
        print(f"audit: {len(unseen)} of {len(packages)} packages were not looked up:{listed}{more}", file=sys.stderr)
    print(f"audit: {len(packages) - len(unseen)} packages looked up, {len(holes)} known holes")
    return HOLES if holes else UNSEEN if unseen else NO_HOLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
