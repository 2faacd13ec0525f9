"""dvc.lock, written block by block by the DVC that runs in this process.

DVC itself reads the whole file with its comments and writes it anew, in place, for each stage that it records: more
seconds with every stage in it, and half a file where the process is killed. Only the block of the stage changes, so
only that is formatted, and the file is replaced in one step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.ledger.lockfile import DamagedLockError, format_block, split_blocks, write_blocks
from pipeline.paths import DVC_LOCK


@contextmanager
def recording_by_blocks() -> Iterator[None]:
    """Let DVC, in this process, record stages block by block; the bytes of dvc.lock are those that DVC would write.

    A dvc.lock that is not in the form that DVC writes is left to DVC.
    """
    from dvc.dvcfile import Lockfile
    from dvc.stage.serialize import to_lockfile

    by_dvc = Lockfile.dump_stages

    def dump_stages(lockfile, stages, **options):
        try:
            text = DVC_LOCK.read_text(encoding="utf-8") if DVC_LOCK.exists() else ""
            blocks = split_blocks(text, DVC_LOCK)
        except (DamagedLockError, UnicodeDecodeError):
            return by_dvc(lockfile, stages, **options)
        entries = {stage.name: to_lockfile(stage, **options)[stage.name] for stage in stages}
        new = {name: format_block(name, entry) for name, entry in entries.items()}
        if not new.items() <= blocks.items():
            write_blocks(blocks | new, DVC_LOCK)
            lockfile.repo.scm_context.track_file(lockfile.relpath)
        return None

    Lockfile.dump_stages = dump_stages
    try:
        yield
    finally:
        Lockfile.dump_stages = by_dvc
