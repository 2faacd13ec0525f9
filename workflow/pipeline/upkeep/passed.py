"""Has a run passed its gates, as it is recorded in the commit that is checked out? Only then it may be registered."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from pipeline.execution import absent
from pipeline.git import git
from pipeline.ledger import (
    Action,
    Fingerprints,
    Ledger,
    Listings,
    absent_data,
    committed_lock,
    content_hash,
    open_ledger,
)
from pipeline.paths import DVC_LOCK, DVC_YAML


@dataclass(frozen=True)
class Passed:
    """A run that keeps its gates."""

    run: str
    commit: str
    """All digits; its dvc.lock records the checkpoint and the gates."""
    checkpoint: Path
    md5: str
    """DVC's hash of the checkpoint."""
    gates: list[dict[str, Any]]
    """What was found of each gate: "name", "said", "why", and more."""


def passed_run(run: str, with_data: bool) -> Passed:
    """Return a run that keeps its gates. Raises HeirloomError for one that does not, or of which that is not known.

    Refused are a run without gates, gates that were not held against the run as config, code and data are now, and
    what no commit records. `with_data`: the checkpoint must be here, as it is recorded; else on the DVC remote.
    """
    ledger = open_ledger(local_data=False, gates=[run])
    gate, training = f"gate-{run}", f"train-{run}"
    for name in ledger.names:
        verdict = ledger.verdicts[name]
        if verdict.action is not Action.CURRENT:
            reason = f"{name}: {verdict.reasons[0]}" if verdict.reasons else name
            raise HeirloomError(
                f"{run} has not passed its gates as it is now ({reason}): `snakemake {gate}` holds it against them"
            )
    commit = git("rev-parse", "HEAD").strip()
    refuse_uncommitted(run, ledger, commit)
    entry, found = ledger.entries[training], ledger.entries[gate]
    (out,) = (out for out in entry["outs"] if out["path"] == ledger.graph.stages[training].outs[0])
    if with_data:
        with Fingerprints() as fingerprints, Listings() as listings:
            wrong = [*absent_data(entry, fingerprints, listings), *absent_data(found, fingerprints, listings)]
        if wrong:
            raise HeirloomError(f"{wrong[0]}: `make pull STAGE={training}` and `make pull STAGE={gate}` bring it back")
    elif away := absent([entry, found]):
        raise HeirloomError(f"{away[0]} is not on the DVC remote, so nobody could get what is tagged: `dvc push`")
    return Passed(run, commit, Path(out["path"]), out["md5"], gates_found(found))


def gates_found(entry: dict) -> list[dict[str, Any]]:
    """Return what was found of each gate: from the file, or, where that is elsewhere, only what the config says."""
    (out,) = entry["outs"]
    file = Path(out["path"])
    if file.is_file() and content_hash(str(file)) == out["md5"]:
        return json.loads(file.read_bytes())["gates"]
    said = next(iter(entry["params"].values()))["gates"]
    return [
        {"name": name, "said": bound, "passed": True, "why": f"kept, as {file} says"} for name, bound in said.items()
    ]


def refuse_uncommitted(run: str, ledger: Ledger, commit: str) -> None:
    """Raise HeirloomError when the commit does not say all that the run's gates stand on."""
    stages = [ledger.graph.stages[name] for name in ledger.names]
    used = {str(DVC_YAML), *(path for stage in stages for path in (*stage.params, *stage.files, *stage.code))}
    changed = changed_files()
    if mine := sorted(path for path in used if path in changed):
        raise HeirloomError(
            f"{mine[0]} is not committed as it is here, and a registered model names the commit that makes it again: "
            f"commit config, code, {DVC_YAML} and {DVC_LOCK} first"
        )
    recorded = committed_lock(commit)
    for stage in stages:
        if recorded.get(stage.name, {}).get("outs") != ledger.entries[stage.name]["outs"]:
            raise HeirloomError(
                f"{DVC_LOCK} of commit {commit[:12]} does not record {stage.name} as it is here: commit it first"
            )


def changed_files() -> set[str]:
    """Return the files that differ from the commit that is checked out, or that git does not know."""
    words = ["git", "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", "."]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    below = git("rev-parse", "--show-prefix").strip()
    return {row[3:].removeprefix(below) for row in listed.split("\0") if row}
