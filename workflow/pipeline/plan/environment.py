"""The software that made what is current, held against the software that is here.

The environment is recorded, not identity: another version of torch re-executes nothing, but is told.
"""

from importlib.metadata import PackageNotFoundError, version

from pipeline.ledger import Entry, History


def environment_changes(history: History, current: dict[str, Entry]) -> list[str]:
    """Return a sentence for each package whose version differs from the one that made current stages.

    Packages that are not installed here (the light environment has no torch) are not compared.
    """
    made_with: dict[tuple[str, str], int] = {}
    for row in history.rows.values():
        if row["stage"] in current and current[row["stage"]]["outs"] == row["outs"]:
            for package, recorded in row.get("record", {}).get("versions", {}).items():
                made_with[package, recorded] = made_with.get((package, recorded), 0) + 1
    return [
        f"{count} current stage{'s were' if count > 1 else ' was'} made with {package} {recorded}, here it is {here}"
        for (package, recorded), count in sorted(made_with.items())
        if (here := installed(package)) not in (None, recorded)
    ]


def installed(package: str) -> str | None:
    """Return the version of a package in this environment, None when it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
