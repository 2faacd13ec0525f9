"""Show a trace (pipeline.tracing) as a tree: the generated line at the top, what it was made from below."""

import json
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from pipeline.ancestry import Artifact
from pipeline.tracing import Trace

LONGEST = 300
"""Characters of a value that are shown."""
WEIGHTS = {
    True: "[green]the folder holds them[/]",
    False: "[red]the folder holds others: the line was not made by this checkpoint[/]",
    None: "not compared here",
}


def trace_tree(trace: Trace) -> Tree:
    """Return the tree of a trace."""
    tree = Tree(f"[bold]{escape(trace.generations.path)}[/] line {trace.line}, row_id {escape(trace.row['row_id'])}")
    add_values(tree.add("[bold]generated[/]"), {key: value for key, value in trace.row.items() if key != "row_id"})
    if trace.processed:
        where = "" if trace.processed.number is None else f", index {trace.processed.number}"
        branch = tree.add(f"[bold]processed row[/] {escape(trace.processed.file)}{where}")
        add_values(branch, trace.processed.content or {})
    if trace.raw:
        raw = trace.raw
        where = "" if raw.number is None else f", row {raw.number}"
        branch = tree.add(f"[bold]raw row[/] {escape(raw.file)}{where}")
        facts = {"content": raw.content, "sha256": raw.sha256, "source": raw.source, "revision": raw.revision}
        add_values(branch, {name: value for name, value in facts.items() if value is not None})
    tree.add("[bold]lineage[/] " + escape(" ← ".join(artifact.path for artifact in trace.lineage)))
    add_artifact(tree, "made by", trace.generations, trace, set())
    if trace.missing:
        add_lines(tree.add("[bold yellow]to know[/]"), trace.missing)
    return tree


def add_artifact(tree: Tree, role: str, artifact: Artifact, trace: Trace, shown: set[tuple[str, str]]) -> None:
    """Add an artifact, how it was made, and what it was made from; one that stands above is only named."""
    stage = f"{escape(artifact.stage)} → " if artifact.stage else ""
    branch = tree.add(f"[bold]{role}[/] {stage}[cyan]{escape(artifact.path)}[/] md5 {artifact.md5} ({artifact.place})")
    if (artifact.path, artifact.md5) in shown:
        branch.add("see above")
        return
    shown.add((artifact.path, artifact.md5))
    if artifact is trace.checkpoint and "checkpoint" in trace.row:
        branch.add(f"weights sha256 {trace.row['checkpoint']}: {WEIGHTS[trace.weights_match]}")
    if artifact.place == "not here":
        branch.add(f"[yellow]{escape(artifact.remedy)}[/]")
    for file, sections in artifact.config.items():
        add_values(branch.add(f"config {escape(file)}, as recorded"), sections)
    if artifact.commits:
        later = f" (and {len(artifact.commits) - 1} later)" if len(artifact.commits) > 1 else ""
        branch.add(f"recorded by commit {escape(artifact.commits[0])}{later}")
    if artifact.stage:
        branch.add(f"code: {artifact.command.split()[3]} and {len(artifact.code) - 1} modules")
        add_execution(branch, artifact.made_with)
    for flag, several in artifact.inputs.items():
        for each in several:
            add_artifact(branch, flag, each, trace, shown)


def add_execution(branch: Tree, made_with: dict[str, Any]) -> None:
    """Add from which commit and with what a stage was executed."""
    if not made_with:
        branch.add("environment: not recorded here (neither in .dvc/history.jsonl nor in .heirloom/records)")
        return
    machine, ranks, versions = made_with["machine"], made_with["ranks"], made_with["versions"]
    execution = branch.add(f"executed {made_with['started']} from code commit {made_with['commit']}")
    execution.add(escape(f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"))
    execution.add(f"{ranks['nodes']} × {ranks['per_node']} ranks on {ranks['device']}")
    execution.add(", ".join(f"{name} {version}" for name, version in versions.items()))


def add_values(branch: Tree, values: dict[str, Any]) -> None:
    """Add a line a value."""
    add_lines(branch, [f"{name}: {shown(value)}" for name, value in values.items()])


def add_lines(branch: Tree, lines: list[str]) -> None:
    for line in lines:
        branch.add(escape(line))


def shown(value: Any) -> str:
    """Return a value for the terminal, cut when it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
