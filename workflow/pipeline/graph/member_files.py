"""The files of the runs that sweeps stand for: config/sweeps/NAME/MEMBER.yaml, written as dvc.yaml is.

DVC's params and the programs of stages want a file a run. What those of a sweep say follows from the sweep's file and
from that of the run it starts from, so they are written from these, and git tracks them. A file that begins
otherwise than those written here is somebody's own run, and is left alone.
"""

from collections.abc import Iterator
from pathlib import Path

from heirloom.config.folders import read_folders
from heirloom.config.sweeps.members import WRITTEN, Member, is_written
from heirloom.errors import HeirloomError
from pipeline.graph.graph import Graph


def write_members(graph: Graph) -> int:
    """Bring the files in step with the sweeps, those of runs that are gone deleted; return how many have changed.

    While a file of config/ is broken nobody knows all runs, and none is deleted. Raises HeirloomError where one cannot
    be written.
    """
    changed = sorted({path for _, path in out_of_step(graph)})
    for path in map(Path, changed):
        member = graph.members.get(str(path))
        try:
            if member is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_text(member.text, encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise HeirloomError(
                f"{path} cannot be written ({error.strerror}): give the permission or the space"
            ) from error
    for folder in {Path(path).parent for path in changed}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return len(changed)


def out_of_step(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield (new, changed or gone; path) of each file that is not what the sweeps say."""
    for path, member in graph.members.items():
        if not in_step(path, member):
            yield "changed" if Path(path).is_file() else "new", path
    if not graph.mistakes:
        yield from (("gone", path) for path in written_files() if path not in graph.members)


def in_step(path: str, member: Member) -> bool:
    """Tell whether a file is there and is what the sweep says."""
    file = Path(path)
    return file.is_file() and file.read_bytes() == member.text.encode()


def written_files() -> Iterator[str]:
    """Yield the files of members that lie here, whatever sweeps there are."""
    for folder in read_folders(Path(), []):
        for path in sorted(Path(folder).glob("sweeps/*/*.yaml")):
            with path.open("rb") as file:
                if is_written(file.read(len(WRITTEN))):
                    yield str(path)
