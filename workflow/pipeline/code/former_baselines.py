"""Entries of version 0.1.0, in which each run had a baseline of its own, under the names and commands of today.

What a base answered for one of the runs that share it now is that artifact, if it was recorded with the settings that
the command has; scores and pages that were made from it have read it at another path, and nothing else is new.
"""

import re
import shlex
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from heirloom.config.sections.generation import GenerationSection
from pipeline.graph import Graph, Stage, said_settings, settings_in

ALIKE = ("--checkpoint", "--dataset", "--prompts", "--trust_remote_code", "--portable")
"""Flags that decide what a base answers, besides its settings."""


def moved_baselines(graph: Graph, entries: dict[str, dict]) -> dict[str, tuple[str, dict]]:
    """Return stage → (its name in the earlier version, its entry in the form of today) for those that were moved."""
    if not any(name.startswith("baseline-") and name not in graph.stages for name in entries):
        return {}
    found: dict[str, tuple[str, dict]] = {}
    for stage in (stage for stage in graph.stages.values() if stage.kind == "baseline"):
        for reader in (reader for reader in graph.stages.values() if stage.artifact in reader.deps):
            former, path = f"baseline-{reader.subject}", f"baselines/{reader.subject}"
            if former not in entries or not answered_alike(stage, entries[former]):
                continue
            if stage.name not in entries:
                found.setdefault(stage.name, (former, entry_of(stage, entries[former])))
            entry = entries.get(reader.name)
            if entry is not None and path in {dep["path"] for dep in entry["deps"]}:
                found[reader.name] = reader.name, reading(stage.artifact, path, entry)
    return found


def answered_alike(stage: Stage, former: dict) -> bool:
    """Tell whether an entry of the earlier version is of the same answers as a stage of today."""
    then, now = flags_in(former["cmd"]), flags_in(stage.cmd)
    section = former.get("params", {}).get(then.get("--config"), {}).get("generation")
    try:
        settings = said_settings(GenerationSection.model_validate(section), then.get("--attn_implementation"))
    except ValidationError:  # a key of another version
        return False
    same = settings == settings_in(stage.cmd).get("generation")
    return same and all(then.get(flag) == now.get(flag) for flag in ALIKE)


def flags_in(command: str) -> dict[str, str]:
    """Return flag → the word after it."""
    return {flag: value for flag, value in pairwise(shlex.split(command)) if flag.startswith("--")}


def entry_of(stage: Stage, former: dict) -> dict[str, Any]:
    """Return the entry of a baseline with what the former one read and made."""
    (out,) = former["outs"]
    return {"cmd": stage.cmd, "deps": former["deps"], "outs": [{**out, "path": stage.artifact}]}


def reading(artifact: str, former: str, entry: dict) -> dict:
    """Return the entry of a stage that read a baseline at its former path."""
    deps = [{**dep, "path": artifact} if dep["path"] == former else dep for dep in entry["deps"]]
    command = re.sub(rf"(?<= ){re.escape(former)}(?= |$)", artifact, entry["cmd"])
    return {**entry, "cmd": command, "deps": sorted(deps, key=lambda dep: dep["path"])}
