"""What git would clone of this repository as it lies here, uncommitted changes included."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OF_THIS_CLONE = ("dvc.lock", ".dvc/history.jsonl")
"""What was made here; a copy begins without results."""


def working_tree() -> list[str]:
    """Return the paths of all files and links that git tracks or would add, relative to the repository."""
    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (REPOSITORY / name).is_file() or (REPOSITORY / name).is_symlink()]


def copy_working_tree(folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Copy the working tree, or what is `wanted` of it, to `folder`; links stay links."""
    for name in working_tree():
        if name not in OF_THIS_CLONE and wanted(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name, follow_symlinks=False)
