"""What would run and why, for people."""

import shutil
import textwrap
from typing import NamedTuple, TextIO

from pipeline.graph import Stage
from pipeline.ledger import Action, Ledger, Verdict
from pipeline.plan.environment import environment_changes

WORDS = {Action.RUN: "run", Action.RESTORE: "restore", Action.FOLLOW: "then", Action.CURRENT: "current"}
MOST_REASONS = 6
WIDEST_NAME = 40
"""Columns; reasons stand below each other up to there."""


class Row(NamedTuple):
    """A line of the plan: stages of one run, dataset or model with which the same is done for the same reasons.

    What runs share is with the first of them by name.
    """

    word: str
    stages: list[Stage]
    reasons: list[str]

    @property
    def name(self) -> str:
        """Return `train-demo-sft`, or `demo-sft: train, generate` for several."""
        if len(self.stages) == 1:
            return self.stages[0].name
        return f"{subject(self.stages[0])}: {', '.join(stage.kind for stage in self.stages)}"


def print_plan(ledger: Ledger, file: TextIO, everything: bool = False, folded: bool = True) -> None:
    """Write what is not current, with its reasons; `everything` also lists what is.

    A line stands for all stages of a run, a dataset or a model with which the same is done for the same reasons, or,
    if not `folded`, for one stage.
    """
    for warning in [*ledger.warnings, *environment_changes(ledger.history, ledger.current())]:
        file.write(f"warning: {warning}\n")
    if ledger.damaged:
        remedy = "its entries are taken from markers and the last commit, `make dvc.yaml` writes it anew"
        file.write(f"warning: {ledger.damaged}; {remedy}\n")
    rows = rows_of(ledger, ledger.names if everything else ledger.to_do(), folded)
    width = min(WIDEST_NAME, max((len(row.name) for row in rows), default=0))
    columns = shutil.get_terminal_size().columns if file.isatty() else None
    for row in rows:
        shown = row.reasons[:MOST_REASONS]
        more = [f"and {len(row.reasons) - MOST_REASONS} more"] if len(row.reasons) > MOST_REASONS else []
        file.write(wrapped(f"{row.word:8}{row.name:{width}}  {'; '.join(shown + more)}".rstrip(), columns) + "\n")
    counts = {action: sum(verdict.action is action for verdict in ledger.verdicts.values()) for action in Action}
    file.write(
        f"{counts[Action.RUN]} to run, {counts[Action.FOLLOW]} after them, {counts[Action.RESTORE]} to restore, "
        f"{counts[Action.CURRENT]} up to date\n"
    )


def wrapped(line: str, columns: int | None) -> str:
    """Return a line as a terminal of so many columns shows it: what goes beyond stands below, indented."""
    if columns is None or len(line) <= columns:
        return line
    indent = " " * 10
    return textwrap.fill(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def rows_of(ledger: Ledger, names: list[str], folded: bool) -> list[Row]:
    """Return the lines of the plan, in run order of their first stages.

    Stages that only follow others stand together whatever they follow; the reason then names what is outside the line.
    """
    groups: dict[tuple, list[str]] = {}
    for name in names:
        stage, verdict = ledger.graph.stages[name], ledger.verdicts[name]
        together = (subject(stage), family(stage), verdict.action, *own_reasons(verdict)) if folded else (name,)
        groups.setdefault(together, []).append(name)
    rows = []
    for members in groups.values():
        verdict = ledger.verdicts[members[0]]
        reasons = verdict.reasons
        if verdict.action is Action.FOLLOW and len(members) > 1:
            above = dict.fromkeys(up for name in members for up in ledger.graph.upstream[name])
            made = [up for up in above if ledger.verdicts[up].action in (Action.RUN, Action.FOLLOW)]
            reasons = [f"after {', '.join(up for up in made if up not in members)}"]
        rows.append(Row(WORDS[verdict.action], [ledger.graph.stages[name] for name in members], reasons))
    return rows


def own_reasons(verdict: Verdict) -> list[str]:
    """Return the reasons that stages on one line must share: none for those that only follow others."""
    return [] if verdict.action is Action.FOLLOW else verdict.reasons


def subject(stage: Stage) -> str:
    """Return the run, the dataset or the model that a stage is told with."""
    return stage.run or stage.subject


def family(stage: Stage) -> str:
    """Return what that is: a dataset, a model or a run, which may have the same name."""
    return {"download": "dataset", "process": "dataset", "tokenizer": "model", "model": "model"}.get(stage.kind, "run")
