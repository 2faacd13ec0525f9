"""Show a chain (pipeline.chain) as a tree: the generated line at the top, what it was made from below."""

import json
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from pipeline.chain import Artifact, Chain

LONGEST = 300
"""Characters of a text that are shown."""
VERSIONS = ("python", "torch", "transformers", "trl", "peft", "deepspeed")


def chain_tree(chain: Chain) -> Tree:
    """Return the tree of a chain."""
    where = f"line {chain.line}" if chain.line else "the line is not here"
    tree = Tree(f"[bold]{escape(chain.generations.path)}[/] {escape(chain.row_id or '')} ({where})")
    if chain.generated:
        line = tree.add("[bold]generated[/]")
        for name, value in chain.generated.items():
            if name not in ("row_id", "checkpoint"):
                line.add(f"{escape(name)}: {shown(value)}")
    shown_artifacts: set[tuple[str, str]] = set()
    if chain.processed:
        add_rows(tree, chain)
    add_artifact(tree, "made by", chain.generations, chain, shown_artifacts)
    if chain.missing:
        missing = tree.add("[bold yellow]not told here[/]")
        for sentence in chain.missing:
            missing.add(escape(sentence))
    return tree


def add_rows(tree: Tree, chain: Chain) -> None:
    """Add the processed and the raw row."""
    processed = chain.processed
    at = "" if processed["position"] is None else f", row {processed['position']} from 0"
    branch = tree.add(f"[bold]processed row[/] {escape(processed['dataset'])}, split {processed['split']}{at}")
    for name, value in (processed["row"] or {}).items():
        branch.add(f"{escape(name)}: {shown(value)}")
    if chain.raw:
        raw = chain.raw
        branch = tree.add(f"[bold]raw row[/] {escape(raw['file'])}, row {raw['row']} from 1")
        for name in ("md5", "sha256", "source", "hub_commit", "content"):
            if raw[name] is not None:
                branch.add(f"{name}: {shown(raw[name])}")


def add_artifact(tree: Tree, role: str, artifact: Artifact, chain: Chain, known: set[tuple[str, str]]) -> None:
    """Add an artifact, how it was made, and what it was made from; one that stands above is only named."""
    title = f"[bold]{escape(role)}[/] " + (f"{escape(artifact.stage)} → " if artifact.stage else "")
    branch = tree.add(f"{title}[cyan]{escape(artifact.path)}[/] [dim]md5 {artifact.md5}[/] ({artifact.presence})")
    if (artifact.path, artifact.md5) in known:
        branch.add("see above")
        return
    known.add((artifact.path, artifact.md5))
    if artifact.path == chain.checkpoint.get("path"):
        branch.add(weights_line(chain.checkpoint))
    if "not here" in artifact.presence:
        branch.add(f"[yellow]bring it here: {escape(artifact.get)}[/]")
    for file, sections in artifact.config.items():
        config = branch.add(f"config {escape(file)}, as recorded")
        for name, section in sections.items():
            config.add(f"{escape(name)}: {shown(section)}")
    branch.add(f"recorded by {commits_line(artifact.commits)}")
    if artifact.stage:
        add_execution(branch, artifact.execution)
    for flag, several in artifact.inputs.items():
        for each in several:
            add_artifact(branch, flag, each, chain, known)


def weights_line(checkpoint: dict[str, Any]) -> str:
    """Return which weights generated the line, and whether they are still there."""
    told = {True: "[green]the folder there still holds them[/]", False: "[red]the folder there holds others[/]"}
    state = told.get(checkpoint["still_there"], "cannot be compared here")
    if checkpoint["weights"] is None:
        return f"the line names no weights; by the folder's hash: {state}"
    return f"weights sha256 {checkpoint['weights']}: {state}"


def commits_line(commits: list[str]) -> str:
    """Return the commit that first recorded an artifact, and how many more mention it."""
    if not commits:
        return "no commit yet: dvc.lock is not committed"
    return escape(commits[0]) + (f" [dim](and {len(commits) - 1} later)[/]" if len(commits) > 1 else "")


def add_execution(branch: Tree, execution: dict[str, Any]) -> None:
    """Add on what and with what a stage was executed."""
    if not execution:
        branch.add("environment: not recorded here (neither in .dvc/history.jsonl nor in .heirloom/records)")
        return
    machine, ranks, versions = (execution.get(name, {}) for name in ("machine", "ranks", "versions"))
    environment = branch.add(f"executed {execution.get('started', '')} from commit {execution.get('commit')}")
    environment.add(
        escape(f"machine: {machine.get('system')}, {machine.get('processor')}, {machine.get('cores')} cores")
    )
    environment.add(f"ranks: {ranks.get('nodes')} × {ranks.get('per_node')} on {ranks.get('device')}")
    environment.add(", ".join(f"{name} {versions[name]}" for name in VERSIONS if name in versions))


def shown(value: Any) -> str:
    """Return a value for the terminal, cut when it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)")
