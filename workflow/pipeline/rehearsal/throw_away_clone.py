"""A folder with the project's files as they lie here, uncommitted edits included, and nothing that was made of them."""

import shutil
from pathlib import Path

from heirloom.config.folders import read_folders
from pipeline.git import git
from pipeline.paths import STATE

LEFT_BEHIND = ("workflow/pipeline/", "tests/", "docs/", "benchmarks/", "dvc.lock", "dvc.yaml", ".dvc/")
"""What no program of a stage reads. Without the ledger programs run as by hand, and nothing is recorded."""
KINDS = ("datasets", "models", "runs", "sweeps")
"""Files of config/ that are written anew, smaller; of sweeps the runs alone."""


def place_of(runs: list[str]) -> Path:
    """Return the folder in which runs are rehearsed. It stays: what is current in it is not made again."""
    return STATE / "rehearsals" / "+".join(runs)


def bring_files(folder: Path) -> None:
    """Bring the project's files to `folder`, which is made; those that are there and the same are left alone."""
    ours = tuple(f"{place}/{kind}/" for place in read_folders(Path(), []) for kind in KINDS)
    names = git("ls-files", "-co", "--exclude-standard").splitlines()
    for name in names:
        file, target = Path(name), folder / name
        if name.startswith((*LEFT_BEHIND, *ours)) or not file.is_file():
            continue
        if not (target.is_file() and target.read_bytes() == file.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
    for place in ours:
        shutil.rmtree(folder / place, ignore_errors=True)
        (folder / place).mkdir(parents=True)


def link_user_file(path: str, folder: Path) -> None:
    """Put a link to a file or folder of the user's that git does not have where the programs look for it."""
    target = folder / path
    if not target.exists() and Path(path).exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(Path(path).absolute())
