"""One stage's data between this machine and the DVC remote, where the session's data belongs: inputs in, products out.

A stage's inputs are known by the markers that Snakemake brings with a job: the stages that made them may have run on
other machines, after dvc.lock was written. Works at the level of DVC's objects, for a stage's own files alone.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from heirloom.errors import HeirloomError
from pipeline.dvc_project import dvc_repository
from pipeline.execution.job_remote import remote_url
from pipeline.execution.restore import put_in_place
from pipeline.graph import Graph, Stage
from pipeline.ledger import Entry, dvc_lock, markers, read_lock, write_entries
from pipeline.paths import MARKERS

PAUSES = (2, 10, 30, 120)
"""Seconds between the tries of a push: it may stand for days of work."""


def learn_inputs(stage: Stage, graph: Graph) -> None:
    """Take the entries that the markers of a stage's inputs hold into dvc.lock."""
    found = {name: markers.read_marker(MARKERS, graph.stages[name].artifact) for name in graph.upstream[stage.name]}
    known = read_lock()
    changes = {name: entry for name, entry in found.items() if entry and entry != known.get(name)}
    if changes:
        with dvc_lock():
            write_entries(changes)


def absent(entries: Iterable[Entry]) -> list[str]:
    """Return the products of these entries that are not on the remote. Raises HeirloomError when it does not answer."""
    with dvc_repository(wait=False) as repo:
        try:
            objects = repo.cloud.get_remote_odb(command="status")
            outs = [out for entry in entries for out in entry["outs"]]
            return [out["path"] for out in outs if not objects.exists(out["md5"])]
        except Exception as error:
            raise HeirloomError(f"the DVC remote cannot be read from here: {error}") from error


def bring_inputs(stage: Stage, graph: Graph) -> None:
    """Put what a stage reads of other stages into the working tree. Raises HeirloomError when some is nowhere."""
    entries = read_lock()
    missing = []
    for maker in graph.upstream[stage.name]:
        paths = [path for path in stage.deps if graph.makers.get(path) == maker]
        if maker not in entries or not put_in_place(maker, entries[maker], paths):
            missing += paths
    if missing:
        raise HeirloomError(
            f"{stage.name}: its input {', '.join(missing)} is not on {remote_url()}: `dvc push` where it was made"
        )
    print(f"{stage.name}: inputs are here", flush=True)


def refuse_read_only_remote() -> None:
    """Write a small object to the remote and raise HeirloomError where that is refused, before hours of work."""
    with dvc_repository(wait=False) as repo:
        remote = repo.cloud.get_remote(command="push")
        try:
            remote.fs.pipe_file(remote.fs.join(remote.path, "write-check"), b"jobs can write here\n")
        except Exception as error:
            raise HeirloomError(
                f"the result could not be written to {remote_url()}: {error}; "
                "give the job's role s3:PutObject there (docs/sagemaker.md)"
            ) from error


def push(name: str, entry: Entry) -> None:
    """Copy a stage's products from the cache to the remote. Raises HeirloomError when that failed again and again."""
    started = time.monotonic()
    for pause in (*PAUSES, None):
        problem = push_once(name, entry)
        if problem is None:
            size = sum(out.get("size", 0) for out in entry["outs"])
            seconds = time.monotonic() - started
            print(f"{name}: {size / 1e6:.1f} MB are on {remote_url()} after {seconds:.1f} s", flush=True)
            return
        if pause is None:
            break
        print(f"{name}: not pushed, again in {pause} s: {problem}", file=sys.stderr, flush=True)
        time.sleep(pause)
    raise HeirloomError(f"{name} was executed, but its result could not be pushed to {remote_url()}: {problem}")


def push_once(name: str, entry: Entry) -> str | None:
    """Try once to push; return what went wrong, None when everything is on the remote."""
    from dvc.stage.loader import StageLoader

    try:
        with dvc_repository(wait=False) as repo:
            stage = repo.stage.load_one(name=name)
            StageLoader.fill_from_lock(stage, entry)
            failed = {item for out in stage.outs for item in failures(repo.cloud, (out.get_used_objs() or {}).values())}
    except Exception as error:  # noqa: BLE001 - whatever S3 and DVC raise, the next try may succeed
        return f"{type(error).__name__}: {error}"
    return f"{len(failed)} files were refused" if failed else None


def failures(cloud, groups: Iterable[set]) -> set:
    """Push groups of objects and return those that are not on the remote afterwards."""
    found: set = set()
    with side_by_side():
        for objects in groups:
            found |= cloud.push(objects).failed
    return found


@contextmanager
def side_by_side() -> Iterator[None]:
    """Let DVC send all files of a push side by side.

    By itself it tries to link the first one, which nothing over a network can be, and then sends that one alone
    (dvc_objects 5.2, fs/generic.py, `transfer`).
    """
    from dvc_objects.fs import generic

    linking = generic.transfer

    def copying(*places: Any, hardlink: bool = False, links: list[str] | None = None, **options: Any) -> None:
        linking(*places, links=["copy"], **options)

    generic.transfer = copying
    try:
        yield
    finally:
        generic.transfer = linking
