"""Where a job works: on the writable disk of the container that has the most room.

SageMaker documents /tmp for scratch, and of /opt/ml/input/data only the channels below, of which there are none here;
on which of the two the machine's large disk is depends on its kind.
"""

import os
import tempfile
from pathlib import Path

_MEMORY = ("tmpfs", "ramfs")  # what is written there takes the job's memory


def working_place(root: Path) -> tuple[Path, str]:
    """Return the folder with the most room among ROOT/input/data and /tmp, and a sentence of what was found.

    Memory counts last. Never below ROOT/checkpoints, which SageMaker copies to S3. Raises OSError when none can be
    written to.
    """
    rooms: dict[Path, tuple[bool, int]] = {}
    seen: set[int] = set()
    said = []
    for folder in (root / "input/data", Path(tempfile.gettempdir())):
        problem = _problem(folder)
        if problem:
            said.append(f"{folder}: {problem}")
        elif folder.stat().st_dev not in seen:
            seen.add(folder.stat().st_dev)
            state = os.statvfs(folder)
            free, memory = state.f_bavail * state.f_frsize, _filesystem(folder) in _MEMORY
            rooms[folder] = not memory, free
            said.append(f"{folder}: {free / 1e9:.0f} GB free{' of memory' * memory}")
    if not rooms:
        raise OSError(f"there is no place to work in: {'; '.join(said)}")
    return max(rooms, key=rooms.__getitem__), "; ".join(said)


def _problem(folder: Path) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return error.strerror or str(error)
    return None


def _filesystem(folder: Path) -> str:
    """Return the kind of the file system that FOLDER is on, empty where the kernel does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts = {Path(words[1].replace("\\040", " ")): words[2] for words in map(str.split, lines) if len(words) > 2}
    real = folder.resolve()
    return next((mounts[place] for place in (real, *real.parents) if place in mounts), "")
