"""Artifacts appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath


@contextmanager
def new_artifact(target: Path | str) -> Iterator[Path]:
    """Give a path beside `target` to write to (a file, or a folder that the caller makes); rename it once at the end.

    The partial artifact is `.NAME.partial`. An error removes it (a full disk has no room for it); a killed process
    leaves at most that, never something at `target` that looks complete; the next call removes it. An earlier `target`
    stays until the new one is whole.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.partial")
    remove(partial)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
    except BaseException:
        remove(partial)
        raise
    remove(target)
    partial.rename(target)


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
