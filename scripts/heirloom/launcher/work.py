"""The folder for a stage's work in progress: found again by an interrupted stage, deleted by a finished one."""

import fcntl
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from heirloom.launcher.command import Program
from heirloom.launcher.ledger import Stage

ROOT = Path(".heirloom/work")
SCRATCH = Path(".heirloom/scratch")
LOCK_FILE = "launcher.pid"
"""The file in a work folder that its process holds locked and has its number in."""
HOST_FILE = "launcher.host"
"""The file beside it with the name of its machine: the nodes of a cluster share work folders, and no numbers."""
KEEP = "HEIRLOOM_KEEP_WORK"
"""Environment variable: whoever started the launcher deletes the work folder, once the result is in a safe place.

Such a folder is copied away as it fills, so what every start makes anew is kept out of it.
"""
ALREADY_RUNNING = 75
"""Exit code EX_TEMPFAIL of sysexits.h: try again later."""


@dataclass(frozen=True)
class WorkFolder:
    """`path` is this execution's; `superseded` are folders of the same stage that a success makes worthless.

    `scratch` is for what every start makes anew, where that is not `path`.
    """

    path: Path
    superseded: tuple[Path, ...] = ()
    scratch: Path | None = None

    def delete(self) -> None:
        for folder in filter(None, (self.path, self.scratch, *self.superseded)):
            shutil.rmtree(folder, ignore_errors=True)


def is_kept() -> bool:
    """Say whether a success leaves its work folder to whoever started the launcher."""
    return KEEP in os.environ


@contextmanager
def work_folder(program: Program, stage: Stage, world_size: int) -> Iterator[WorkFolder]:
    """Make the stage's work folder and hold it for this process; exit with 75 when another process holds it.

    With a ledger its name carries the stage's identity and the number of ranks, so that state of another identity
    is never taken up; by hand it stands beside the output, and the program compares what it finds there.
    """
    folder = choose_folder(program, stage, world_size)
    descriptor = lock(folder.path)
    if descriptor is None:
        holder = folder.path / LOCK_FILE
        process = holder.read_text(encoding="utf-8") if holder.is_file() else "unknown"
        print(f"{stage.name} is already running (process {process}): wait for it to end", file=sys.stderr)
        sys.exit(ALREADY_RUNNING)
    try:
        (folder.path / HOST_FILE).write_text(platform.node(), encoding="utf-8")
        (folder.path / LOCK_FILE).write_text(str(os.getpid()), encoding="utf-8")
        yield folder
    finally:
        os.close(descriptor)
        with suppress(OSError):  # it is not empty: the stage has not finished
            folder.path.rmdir()


def lock(folder: Path) -> int | None:
    """Lock `folder` (made where it is missing) for as long as the returned descriptor is open; None when it is held.

    The kernel lets go of the lock when the process ends, however it ends. The lock is on a file that is open for
    writing, because NFS, which the nodes of a cluster may share, locks nothing else between machines.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # the process that held it has finished and deleted it meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (folder / LOCK_FILE).stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def choose_folder(program: Program, stage: Stage, world_size: int) -> WorkFolder:
    """Return the folder of this execution; say so when work of another number of ranks cannot be taken up."""
    if not stage.identity:
        target = Path(program.value_of("--output") or program.value_of("--metrics") or stage.name)
        return WorkFolder(target.with_name(f".{target.name}.work"))
    of_identity = f"{stage.name}-{stage.identity[:16]}-w"
    path = ROOT / f"{of_identity}{world_size}"
    earlier = tuple(other for other in sorted(ROOT.glob(f"{stage.name}-*")) if is_work_of(stage.name, other, path))
    for other in earlier:
        if other.name.startswith(of_identity):
            ranks = other.name.removeprefix(of_identity)
            print(
                f"{stage.name}: work of an interrupted run on {ranks} ranks does not fit {world_size}: starting afresh"
            )
    return WorkFolder(path, superseded=earlier, scratch=SCRATCH / path.name if is_kept() else None)


def is_work_of(stage: str, folder: Path, current: Path) -> bool:
    """Say whether `folder` is another work folder of `stage`: STAGE-<16 hex>-w<ranks>."""
    identity, _, ranks = folder.name.removeprefix(f"{stage}-").partition("-w")
    hexadecimal = len(identity) == 16 and not set(identity) - set("0123456789abcdef")
    return folder != current and folder.is_dir() and hexadecimal and ranks.isdecimal()
