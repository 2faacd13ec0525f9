"""What a run reads and no colleague has: files of the user's that neither git nor DVC carries to another clone."""

import os
from pathlib import Path, PurePath

from heirloom.config.linked_files import how_to_share, pointer_of
from heirloom.errors import HeirloomError
from pipeline.git import git
from pipeline.paths import ROOT


def only_here(project) -> list[str]:
    """Return a sentence for each source of an enabled run that lies in this clone and in no other.

    DVC leaves a pointer NAME.dvc beside what it carries, or beside a folder that holds it. What lies outside of the
    clone, on a disk that others may share, is not asked about.
    """
    in_use = project.files_in_use()
    files = [file for file in (*project.datasets.values(), *project.models.values()) if file.path in in_use]
    named = {file.source.local: file.path for file in files if file.source is not None and file.source.local}
    asked = [path for path in named if is_inside(path) and pointer_of(Path(path)) is None]
    return [
        f"{named[path]}: {path} is in this clone only, and a colleague's needs it as well: {how_to_share(path)}"
        for path in untracked(asked)
    ]


def is_inside(path: str) -> bool:
    """Tell whether a path leads to a place in this clone."""
    return Path(path).resolve().is_relative_to(ROOT)


def untracked(paths: list[str]) -> list[str]:
    """Return those of the paths at and below which git knows of no file; none where there is no git to ask."""
    try:
        known = git("ls-files", "-z", "--", *paths).split("\0") if paths else []
    except HeirloomError:
        return []
    tracked = {str(top) for name in known for top in (PurePath(name), *PurePath(name).parents)}
    return [path for path in paths if os.path.relpath(path) not in tracked]
