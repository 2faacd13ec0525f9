"""Entries of an earlier version in the form of today: one digest of code for all modules, and baselines of no run.

An entry named each module by the MD5 of its bytes. The bytes are looked for in the working tree and in git; a module
that is in neither (it was edited and never committed) keeps its MD5 in the digest's place, and so counts as changed.
Baselines: pipeline.code.former_baselines.
"""

import hashlib
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from heirloom.launcher.dvc_hashes import file_hash
from pipeline.code.former_baselines import moved_baselines
from pipeline.code.listings import keep_listing, listing, remembered_digests
from pipeline.code.sameness import Same
from pipeline.code.syntax import syntax_digest
from pipeline.graph import CHECKED, Graph, Stage, code_file


@dataclass(frozen=True)
class Carried:
    """Entries of an earlier version in the form of today."""

    entries: dict[str, dict]
    """Stage → its entry."""
    known: list[Same]
    """What lets the history know results by both forms of the code."""
    moved: dict[str, str]
    """Stage → its name then, of those whose command or path is another one."""


def carry_over(graph: Graph, entries: dict[str, dict]) -> Carried:
    """Return what is recorded in a form of an earlier version, in that of today."""
    moved = moved_baselines(graph, entries)
    entries = entries | {name: entry for name, (_, entry) in moved.items()}
    old = {name: entry for name, entry in entries.items() if name in graph.stages and is_old(graph.stages[name], entry)}
    parts = {name: old_code(graph.stages[name], entry) for name, entry in old.items()}
    digests = digests_of({(path, md5) for modules in parts.values() for path, md5 in modules.items()}) if old else {}
    carried = {name: entry for name, (_, entry) in moved.items()}
    known: dict[tuple, set[str]] = {}
    for name, entry in old.items():
        path = code_file(graph.stages[name].program)
        text = listing({module: digests.get(md5, md5) for module, md5 in parts[name].items()})
        value = hashlib.md5(text.encode()).hexdigest()
        with suppress(OSError):  # a clone that may only be read
            keep_listing(text)
        deps = [dep for dep in entry["deps"] if dep["path"] not in parts[name] and dep["path"] != CHECKED]
        deps.append({"path": path, "hash": "md5", "md5": value, "size": len(text.encode())})
        carried[name] = {**entry, "deps": sorted(deps, key=lambda dep: dep["path"])}
        gone = [(dep["path"], (dep["md5"], None)) for dep in entry["deps"] if dep not in deps]
        known.setdefault((*gone, (path, (None, value))), set()).add(name)
    proof = {"carried over": "entries of an earlier version, which named each module"}
    same = [Same(dict(inputs), frozenset(names), proof=proof) for inputs, names in known.items()]
    return Carried(carried, same, {name: former for name, (former, _) in moved.items()})


def is_old(stage: Stage, entry: dict) -> bool:
    """Tell whether an entry names the modules of its program one by one."""
    paths = {dep["path"] for dep in entry.get("deps", [])}
    return bool(stage.program) and stage.program in paths and code_file(stage.program) not in paths


def old_code(stage: Stage, entry: dict) -> dict[str, str]:
    """Return path → MD5 of the modules that an entry of the earlier form names; not of the user's own functions."""
    deps = {dep["path"]: dep["md5"] for dep in entry["deps"]}
    return {path: md5 for path, md5 in deps.items() if path.endswith(".py") and path not in stage.files}


def digests_of(wanted: set[tuple[str, str]]) -> dict[str, str]:
    """Return MD5 of a module's bytes → digest of its syntax, for those of (path, MD5) whose bytes are to be had."""
    found, missing = {}, set()
    for path, md5 in wanted:
        if Path(path).is_file() and file_hash(path) == md5:
            found[md5] = remembered_digests().of(path)
        else:
            missing.add((path, md5))
    values = {md5 for _, md5 in missing}
    for content in committed_contents({path for path, _ in missing}):
        md5 = hashlib.md5(content).hexdigest()
        if md5 in values and md5 not in found:
            found[md5] = syntax_digest(content)
    return found


def committed_contents(paths: Iterable[str]) -> Iterator[bytes]:
    """Yield every content that any commit has had at these paths; nothing where there is no git to ask."""
    paths = sorted(paths)
    if not paths:
        return
    log = ["git", "log", "--all", "--format=", "--raw", "--no-abbrev", "--no-renames", "--relative", "--", *paths]
    rows = subprocess.run(log, capture_output=True, text=True, check=False).stdout.splitlines()
    blobs = {blob for row in rows for blob in row.split()[2:4] if set(blob) != {"0"}}
    words = ["git", "cat-file", "--batch"]
    text = "".join(f"{blob}\n" for blob in sorted(blobs)).encode()
    answer = subprocess.run(words, input=text, capture_output=True, check=False).stdout
    start = 0
    while start < len(answer):
        end = answer.index(b"\n", start)
        head = answer[start:end].split()
        if len(head) != 3:  # `SHA missing`, in a shallow clone
            start = end + 1
            continue
        size = int(head[2])
        yield answer[end + 1 : end + 1 + size]
        start = end + 1 + size + 1
