"""From an artifact back to all that it was made from, by what dvc.lock, the history and git recorded.

The hashes are followed, not the names: when a checkpoint was trained anew since it answered, the way leads to the
earlier one, by the entry that a commit has of it.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.code import kept_listing
from pipeline.graph import CHECKED, CODE_FOLDER, program_of, settings_in
from pipeline.ledger import Entry, History, committed_lock, read_lock, recorded_outs
from pipeline.provenance.contents import Contents
from pipeline.provenance.origin import commits_with_hash

COMMAND = "in the command"


@dataclass(frozen=True)
class Artifact:
    """One content at one path. Without `stage` it is a file of the user's, or (`lost`) nothing records its making."""

    path: str
    md5: str
    """DVC's hash; ends in `.dir` for a folder."""
    place: str
    """Where on this machine the content is: `Contents.place`."""
    commits: list[str]
    """The commits that recorded it, oldest first, a line each; none while dvc.lock is not committed."""
    remedy: str
    """The command that brings the content here, or, for a file of the user's, finds it in git."""
    stage: str | None = None
    command: str | None = None
    code: dict[str, str] = field(default_factory=dict)
    """Path → digest of the script and the modules that the stage used (pipeline.code); of an earlier version, MD5."""
    config: dict[str, Any] = field(default_factory=dict)
    """Config file → the sections that decided it, as recorded; under COMMAND those that stand in the command itself."""
    made_with: dict[str, Any] = field(default_factory=dict)
    """Commit, time, ranks, machine and versions of the execution; empty when not recorded."""
    accepted: list[dict[str, Any]] = field(default_factory=list)
    """Of a result that was executed with other code than its entry names: what proves each step from one to the other,
    or when and why it was accepted."""
    inputs: dict[str, list["Artifact"]] = field(default_factory=dict)
    """Flag of the command (`base`, `dataset`, `raw`, …; for what it does not name `role_of`) → what the stage read."""
    lost: bool = False
    """A stage makes this path, but its entry for this content was replaced before a commit had it."""

    def ancestors(self) -> Iterator["Artifact"]:
        """Yield this artifact and all that it was made from, each once, the nearest first."""
        seen: set[tuple[str, str]] = set()
        pending = [self]
        while pending:
            artifact = pending.pop(0)
            if (artifact.path, artifact.md5) not in seen:
                seen.add((artifact.path, artifact.md5))
                yield artifact
                pending += [each for several in artifact.inputs.values() for each in several]

    def as_json(self) -> dict[str, Any]:
        """Return all facts as JSON values; inputs by path and hash."""
        inputs = {flag: [{"path": each.path, "md5": each.md5} for each in found] for flag, found in self.inputs.items()}
        return {**vars(self), "inputs": inputs}


class Ancestry:
    """Looks up what is recorded of an artifact, by path and hash."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._entries = read_lock()
        self._products = recorded_outs(self._entries)
        self._history = History()
        self._committed: dict[str, dict[str, Entry]] = {}
        self._known: dict[tuple[str, str], Artifact] = {}

    def artifact(self, path: str, md5: str) -> Artifact:
        """Return a content at a path, with everything that led to it."""
        if (path, md5) not in self._known:
            place, commits = self._contents.place(path, md5), commits_with_hash(md5)
            commit, stage = self._maker(path, md5, commits)
            if stage is None:
                remedy = f"git log --all -- {shlex.quote(path)}"
                found = Artifact(path, md5, place, commits, remedy, lost=path in self._products)
            else:
                if commit:
                    remedy = f"dvc get --rev {commit} . {shlex.quote(path)} --out {shlex.quote(f'{path}@{commit}')}"
                else:
                    remedy = f"dvc {'checkout' if place == 'in the cache' else 'pull'} {shlex.quote(path)}"
                found = Artifact(path, md5, place, commits, remedy, stage, **self._facts(stage, commit))
            self._known[path, md5] = found
        return self._known[path, md5]

    def _maker(self, path: str, md5: str, commits: list[str]) -> tuple[str, str | None]:
        """Return (commit, stage): whose dvc.lock has the content, and the stage that made it.

        The commit is empty when dvc.lock as it is now has it; the stage is None when no lock does.
        """
        for commit in ("", *(line.split()[0] for line in reversed(commits))):
            for stage, entry in self._lock_of(commit).items():
                if any(out["path"] == path and out["md5"] == md5 for out in entry.get("outs", [])):
                    return commit, stage
        return "", None

    def _lock_of(self, commit: str) -> dict[str, Entry]:
        if not commit:
            return self._entries
        if commit not in self._committed:
            self._committed[commit] = committed_lock(commit)
        return self._committed[commit]

    def _facts(self, stage: str, commit: str) -> dict[str, Any]:
        """Return what the entry of a stage in the dvc.lock of a commit tells of its making."""
        entry = self._lock_of(commit)[stage]
        flags = flags_by_path(entry["cmd"])
        code: dict[str, str] = {}
        inputs: dict[str, list[Artifact]] = {}
        for dep in entry.get("deps", []):
            if dep["path"].endswith(".py"):
                code[dep["path"]] = dep["md5"]
            elif dep["path"].startswith(CODE_FOLDER):
                code |= kept_listing(dep["md5"]) or {program_of(dep["path"]): dep["md5"]}
            elif dep["path"] != CHECKED:  # it says that config/ was checked, and nothing is made from it
                found = self.artifact(dep["path"], dep["md5"])
                inputs.setdefault(flags.get(dep["path"]) or role_of(dep["path"]), []).append(found)
        return {
            "command": entry["cmd"],
            "code": code,
            "config": entry.get("params", {})
            | ({COMMAND: settings} if (settings := settings_in(entry["cmd"])) else {}),
            "made_with": self._history.made_with(stage, entry),
            "accepted": [same.proof for same in self._history.accepted_by(stage, entry)],
            "inputs": inputs,
        }


def role_of(path: str) -> str:
    """Return what an input is that no flag of the command names: the whole model of an adapter, or else a file."""
    return "model of the adapter" if path.startswith(("models/", "checkpoints/")) else "file"


def flags_by_path(command: str) -> dict[str, str]:
    """Return value → the flag of a stage's command that gives it; of `--datasets NAME=FOLDER` the folder counts."""
    found, flag = {}, ""
    for word in shlex.split(command):
        if word.startswith("--"):
            flag = word.removeprefix("--")
        else:
            found[word.partition("=")[2] if flag == "datasets" else word] = flag
    return found
