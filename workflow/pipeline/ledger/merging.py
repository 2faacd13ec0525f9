"""git's merge driver for dvc.lock and dvc.yaml: two branches that each add a run merge without hand work.

Both files are a mapping of stages, so they are merged stage by stage. Where both branches changed the same stage,
ours stays: the ledger compares it with the merged config at the next run, and finds the right result in the history
where one of the branches made it.
"""

from pathlib import Path

from heirloom.errors import HeirloomError
from pipeline.graph import dvcfile
from pipeline.ledger.lockfile import BLOCK, HEAD


def merge_files(base: Path, ours: Path, theirs: Path) -> None:
    """Merge `theirs` into `ours`, in place, as git asks of a driver (%O %A %B)."""
    head, mine = blocks_of(ours)
    other, yours = blocks_of(theirs)
    ancestor, common = blocks_of(base)
    if artifacts := merged_blocks(*map(dvcfile.artifacts_of, (head, other, ancestor))):
        before = head.partition(dvcfile.ARTIFACTS)[0].removesuffix(dvcfile.STAGES)
        head = before + dvcfile.ARTIFACTS + artifacts + dvcfile.STAGES
    elif dvcfile.ARTIFACTS in head:
        head = head.partition(dvcfile.ARTIFACTS)[0] + dvcfile.STAGES
    ours.write_text(head + merged_blocks(mine, yours, common), encoding="utf-8")


def merged_blocks(mine: dict[str, str], yours: dict[str, str], common: dict[str, str]) -> str:
    """Return the blocks of both sides, sorted by name; `common` is what both began with."""
    merged = dict(mine)
    for name, block in yours.items():
        if name not in mine and name not in common or mine.get(name) == common.get(name):
            merged[name] = block
    for name in common:
        if name not in yours and mine.get(name) == common[name]:
            merged.pop(name, None)
    return "".join(merged[name] for name in sorted(merged))


def blocks_of(file: Path) -> tuple[str, dict[str, str]]:
    """Return what stands before the stages, and stage → its block of text."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HeirloomError(f"{file} cannot be merged: {error}") from error
    head, body = dvcfile.around_stages(text)
    if head == text:
        return (dvcfile.HEADER + dvcfile.STAGES if text.startswith("#") else HEAD), {}
    return head + dvcfile.STAGES, {match["name"]: match[0] for match in BLOCK.finditer(body)}
