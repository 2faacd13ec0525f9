"""Entries of dvc.lock: what one is, and the one that executing a stage now would record."""

import os
from collections.abc import Callable
from typing import Any

from heirloom.launcher.dvc_hashes import files_below
from pipeline.code import bring_in_step, code_text
from pipeline.graph import Graph, Stage, dvcfile, program_of
from pipeline.ledger.fingerprints import Fingerprints

Entry = dict
"""What DVC records of one execution: cmd, deps, params and outs, with hashes."""

HashOf = Callable[[str], str | None]
"""Path → content hash as it is now, None when there is nothing."""


def recorded_outs(entries: dict[str, Entry]) -> dict[str, dict]:
    """Return path → what an entry records of it, for all products of all entries."""
    outs = (out for name, entry in entries.items() if name not in dvcfile.GUARDS for out in entry.get("outs", []))
    return {out["path"]: out for out in outs}


def recorded_hashes(graph: Graph, recorded: dict[str, dict], file_hash: HashOf) -> HashOf:
    """Return path → hash: of an artifact the one in `recorded` (path → its out), of a file the one that it has now."""
    return lambda path: recorded.get(path, {}).get("md5") if path in graph.makers else file_hash(path)


def expected_entry(
    stage: Stage, hash_of: HashOf, sections: Callable[[str], dict], recorded: dict[str, dict]
) -> Entry | None:
    """Return the entry that executing a stage now would record, without the hashes of its products.

    `recorded` has what dvc.lock knows of other stages' artifacts (path → its out). None when an input does not exist.
    """
    deps = [dependency_record(path, hash_of(path), recorded.get(path)) for path in stage.deps]
    if any(dep["md5"] is None for dep in deps):
        return None
    params = params_now(stage, sections)
    entry: Entry = {"cmd": stage.cmd}
    if deps:
        entry["deps"] = deps
    if params:
        entry["params"] = params
    entry["outs"] = [{"path": path} for path in stage.products]
    return entry


def params_now(stage: Stage, sections: Callable[[str], dict]) -> dict[str, dict]:
    """Return config file → the sections of a stage's identity that it has now, by name."""
    return {
        file: {name: sections(file)[name] for name in sorted(names) if name in sections(file)}
        for file, names in sorted(stage.params.items())
    }


def dependency_record(path: str, value: str | None, out: dict | None) -> dict:
    """Return what DVC records of an input: hash, size, and what else its `Meta` has (dvc_data/hashfile/meta.py)."""
    record: dict[str, Any] = {"path": path, "hash": "md5", "md5": value}
    if out is not None and out["md5"] == value:
        return record | {key: out[key] for key in ("size", "nfiles", "isexec") if key in out}
    if program := program_of(path):
        return record | {"size": len(code_text(program).encode())}
    if os.path.isdir(path):
        sizes = [info.st_size for _, info in files_below(path, path)]
        return record | {"size": sum(sizes), "nfiles": len(sizes)}
    if os.path.isfile(path):
        info = os.stat(path)
        executable = {"isexec": True} if info.st_mode & 0o111 else {}
        return record | {"size": info.st_size} | executable
    return record


def guards_in_step(graph: Graph, entries: dict[str, Entry]) -> dict[str, Entry]:
    """Bring the files of digests in step with the code; return what of `guard_entries` is not in `entries` so.

    While a file of config/ is broken, nobody knows all stages, and the guards stay as they are.
    """
    if graph.mistakes:
        return {}
    bring_in_step(graph.programs)
    return {name: entry for name, entry in guard_entries(graph).items() if entries.get(name) != entry}


def guard_entries(graph: Graph) -> dict[str, Entry]:
    """Return the entries of the stages of dvc.yaml that are in no graph, as they hold for config/ and the code now."""
    entries = {dvcfile.CHECK: dvcfile.check_entry(), dvcfile.DIGEST: dvcfile.digest_entry(graph.programs)}
    with Fingerprints() as fingerprints:
        for entry in entries.values():
            for key in ("deps", "outs"):
                entry[key] = [
                    dependency_record(each["path"], fingerprints.of(each["path"]), None) for each in entry[key]
                ]
    return entries
