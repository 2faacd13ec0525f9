"""Show a trace (pipeline.provenance.trace) as a tree: the generated line at the top, what it was made from below."""

import json
from typing import Any

from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from heirloom.errors import plain
from pipeline.provenance.ancestry import Artifact
from pipeline.provenance.trace import Trace

LONGEST = 300
"""Characters of a value that are shown."""
WEIGHTS = {
    True: "[green]the folder holds them[/]",
    False: "[red]the folder holds others: the line was not made by this checkpoint[/]",
    None: "not compared here",
}


def trace_tree(trace: Trace) -> Tree:
    """Return the tree of a trace."""
    tree = Tree(f"[bold]{safe(trace.generations.path)}[/] line {trace.line}, row_id {safe(shown(trace.row['row_id']))}")
    add_values(tree.add("[bold]generated[/]"), {key: value for key, value in trace.row.items() if key != "row_id"})
    if trace.processed:
        where = "" if trace.processed.number is None else f", index {trace.processed.number}"
        branch = tree.add(f"[bold]processed row[/] {safe(trace.processed.file)}{where}")
        add_values(branch, trace.processed.content or {})
    if trace.raw:
        raw = trace.raw
        where = "" if raw.number is None else f", row {raw.number}"
        branch = tree.add(f"[bold]raw row[/] {safe(raw.file)}{where}")
        facts = {"content": raw.content, "sha256": raw.sha256, "source": raw.source, "revision": raw.revision}
        add_values(branch, {name: value for name, value in facts.items() if value is not None})
    tree.add("[bold]lineage[/] " + safe(" ← ".join(artifact.path for artifact in trace.lineage)))
    ArtifactTree(trace).add(tree, "made by", trace.generations)
    if trace.missing:
        add_lines(tree.add("[bold yellow]to know[/]"), trace.missing)
    return tree


class ArtifactTree:
    """Adds artifacts with what they were made from; whatever stands above already is only named."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._artifacts: set[tuple[str, str]] = set()
        self._environments: dict[str, str] = {}
        """Machine and versions → the first stage that is shown with them."""

    def add(self, tree: Tree, role: str, artifact: Artifact) -> None:
        """Add an artifact in its role, how it was made, and its inputs."""
        stage = f"{safe(artifact.stage)} → " if artifact.stage else ""
        title = f"[bold]{role}[/] {stage}[cyan]{safe(artifact.path)}[/] md5 {artifact.md5} ({artifact.place})"
        branch = tree.add(title)
        if (artifact.path, artifact.md5) in self._artifacts:
            branch.add("see above")
            return
        self._artifacts.add((artifact.path, artifact.md5))
        if artifact is self._trace.checkpoint and "checkpoint" in self._trace.row:
            branch.add(f"weights sha256 {self._trace.row['checkpoint']}: {WEIGHTS[self._trace.weights_match]}")
        if artifact.lost:
            branch.add("[yellow]its entry in dvc.lock was replaced before a commit had it: its making is not known[/]")
        elif artifact.place == "not here":
            branch.add(f"[yellow]{safe(artifact.remedy)}[/]")
        for file, sections in artifact.config.items():
            add_values(branch.add(f"config {safe(file)}, as recorded"), sections)
        if artifact.commits:
            later = f" (and {len(artifact.commits) - 1} later)" if len(artifact.commits) > 1 else ""
            branch.add(f"recorded by commit {safe(artifact.commits[0])}{later}")
        if artifact.stage:
            branch.add(f"code: {artifact.command.split()[3]} and {len(artifact.code) - 1} modules")
            self._add_execution(branch, artifact.stage, artifact.made_with)
            add_lines(branch, [f"and {how_known(proof)}" for proof in artifact.accepted])
        for flag, several in artifact.inputs.items():
            for each in several:
                self.add(branch, flag, each)

    def _add_execution(self, branch: Tree, stage: str, made_with: dict[str, Any]) -> None:
        """Add from which commit and with what a stage was executed."""
        if not made_with:
            branch.add("environment: not recorded here (neither in .dvc/history.jsonl nor in .heirloom/records)")
            return
        machine, ranks, versions = made_with["machine"], made_with["ranks"], made_with["versions"]
        execution = branch.add(safe(f"executed {made_with['started']} from code commit {made_with.get('commit')}"))
        count = ranks["nodes"] * ranks["per_node"]
        on = f" on {ranks['nodes']} machines" if ranks["nodes"] > 1 else ""
        execution.add(safe(f"{count} {ranks['device']} rank{'s' if count > 1 else ''}{on}"))
        first = self._environments.setdefault(json.dumps([machine, versions]), stage)
        if first != stage:
            execution.add(f"machine and versions as for {first}")
            return
        execution.add(safe(f"{machine['system']}, {machine.get('processor')}, {machine.get('cores')} cores"))
        execution.add(safe(", ".join(f"{name} {version}" for name, version in versions.items())))


def how_known(proof: dict[str, Any]) -> str:
    """Say why a result counts for other code than it was executed with."""
    if "executed" in proof:
        how = "proven for later code by a small stage"
    else:
        how = "accepted for later code, not proven" if "accepted" in proof else "known to an earlier version"
    return f"{how}: {json.dumps(proof, ensure_ascii=False)}"


def add_values(branch: Tree, values: dict[str, Any]) -> None:
    """Add a line a value."""
    add_lines(branch, [f"{name}: {shown(value)}" for name, value in values.items()])


def add_lines(branch: Tree, lines: list[str]) -> None:
    for line in lines:
        branch.add(Text(plain(line)))


def safe(text: str) -> str:
    """Return a text of anybody's as one that is shown as it is, and does nothing to the terminal."""
    return escape(plain(text))


def shown(value: Any) -> str:
    """Return a value for the terminal, cut when it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
