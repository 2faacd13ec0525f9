"""The installed packages, held against the lock."""

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from heirloom.doctor.finding import Finding, error, note, ok, warning

OLDEST_PYTHON = (3, 11)
SHOWN = 8
INSTALL = "pip install --requirement envs/training.txt, or `make setup`"


@dataclass(frozen=True)
class Comparison:
    """Packages of a lock by what is installed: `different` as `name installed (locked version)`."""

    locked: int
    missing: tuple[str, ...]
    different: tuple[str, ...]


def compare_with_lock(lock: Path) -> Comparison:
    """Compare every line of a lock that counts on this platform with what is installed.

    A local version counts as the version that it is a build of: torch 2.13.0+cpu as 2.13.0.
    """
    from packaging.requirements import Requirement

    missing, different, locked = [], [], 0
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        locked += 1
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if installed not in requirement.specifier:
            different.append(f"{requirement.name} {installed} ({str(requirement.specifier).lstrip('=')})")
    return Comparison(locked, tuple(missing), tuple(different))


def check_python() -> Finding:
    """Find an interpreter that is too old."""
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info >= OLDEST_PYTHON:
        return ok("Python", found)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return error("Python", found, f"Heirloom needs Python {oldest}", "make an environment with a newer one")


def check_lock(lock: Path) -> Finding:
    """Find packages that are missing or have another version than envs/training.txt says."""
    if not lock.is_file():
        return note("packages", f"{lock} is not here", "versions cannot be compared", "run this in a clone")
    try:
        found = compare_with_lock(lock)
    except ModuleNotFoundError:
        return error("packages", "not even `packaging` is installed", "this is no environment of Heirloom's", INSTALL)
    if "torch" in found.missing:
        return note(
            "packages",
            f"the light environment: {len(found.missing)} of {found.locked} packages are not here, torch among them",
            "it can plan, validate, submit, push and pull; it cannot execute a stage that trains or generates",
            INSTALL,
        )
    if found.missing:
        return error("packages", f"missing: {some(found.missing)}", "a stage that imports one will fail", INSTALL)
    if found.different:
        return warning(
            "packages",
            f"other versions than locked: {some(found.different)}",
            "results can differ from those of the locked environment, and nobody has tested these together",
            INSTALL,
        )
    return ok("packages", f"all {found.locked} as {lock.name} locks them")


def some(names: tuple[str, ...]) -> str:
    """Return the first names and how many more there are."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
