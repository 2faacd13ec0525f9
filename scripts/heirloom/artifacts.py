"""Artifacts appear whole or not at all, and replace nothing but earlier artifacts.

In the workflow a stage's products are its own: the ledger knows what lies there. By hand, where the launcher tells no
identity, an existing file or folder is replaced only if a note beside it, `.NAME.made`, lists exactly the files that
are there, as this program made them.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from heirloom.errors import HeirloomError


@contextmanager
def new_artifact(target: Path | str) -> Iterator[Path]:
    """Give a path beside `target` to write to (a file, or a folder that the caller makes); rename it once at the end.

    The partial artifact is `.NAME.partial`. An error removes it (a full disk has no room for it); a killed process
    leaves at most that, never something at `target` that looks complete; the next call removes it. An earlier `target`
    stays until the new one is whole. Raises HeirloomError as `destination` does.
    """
    target = destination(target)
    partial = target.with_name(f".{target.name}.partial")
    remove(partial)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
    except BaseException:
        remove(partial)
        raise
    destination(target)  # hours may have passed
    made = files_of(partial) if by_hand() else None
    remove(target)
    partial.rename(target)
    if made is not None:
        note_beside(target).write_text(json.dumps(made, indent=1), encoding="utf-8")


def destination(path: Path | str) -> Path:
    """Return the path where an artifact may be put; for command lines, so that a mistake is told before any work.

    Raises HeirloomError when something is there that no earlier call made, or that was changed since; and where this
    user may put nothing.
    """
    target = Path(path)
    above = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise HeirloomError(f"{target} can be no place for a result, because {above} is no folder: choose another")
    if not os.access(above, os.W_OK | os.X_OK):
        raise HeirloomError(f"{target} cannot be written: this user may not write to {above}: choose another place")
    if not by_hand() or not os.path.lexists(target):
        return target
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return target
    try:
        made = json.loads(note_beside(target).read_bytes())
    except (OSError, ValueError, RecursionError):
        made = None
    if target.is_symlink() or made != files_of(target):
        raise HeirloomError(
            f"{target} exists, and is not (or not any more) what an earlier run of this program has left there: choose "
            "another place, or remove it yourself"
        )
    return target


def by_hand() -> bool:
    """Tell whether this process executes no stage of the workflow."""
    return "HEIRLOOM_IDENTITY" not in os.environ


def note_beside(target: Path) -> Path:
    """Return the file that lists what was made at `target`."""
    return target.with_name(f".{target.name}.made")


def files_of(target: Path) -> dict[str, list[int]]:
    """Return the files at and below a path by their relative names, with size and time; links as what they are."""
    found = [target] if target.is_symlink() or not target.is_dir() else sorted(target.rglob("*"))
    stats = {
        path.relative_to(target).as_posix(): path.lstat() for path in found if path.is_symlink() or not path.is_dir()
    }
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def is_inside(name: str) -> bool:
    """Tell whether a relative name, joined to a folder, is a place in it: no `..`, nothing absolute, no odd forms."""
    plain = "\0" not in name and "\\" not in name and str(PurePosixPath(name)) == name
    return plain and not name.startswith("/") and name != "." and ".." not in name.split("/")


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; nothing happens when there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
