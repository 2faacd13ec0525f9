"""What would run and why, for people."""

from typing import TextIO

from pipeline.ledger import Action, Ledger
from pipeline.plan.environment import environment_changes

WORDS = {Action.RUN: "run", Action.RESTORE: "restore", Action.FOLLOW: "then"}
MOST_REASONS = 6


def print_plan(ledger: Ledger, file: TextIO, everything: bool = False) -> None:
    """Write a line a stage that is not current, with its reasons; `everything` also lists the current ones."""
    for warning in [*ledger.warnings, *environment_changes(ledger.history, ledger.current())]:
        file.write(f"warning: {warning}\n")
    if ledger.damaged:
        file.write(f"warning: {ledger.damaged}; its entries are taken from the markers\n")
    names = ledger.names if everything else ledger.to_do()
    width = max((len(name) for name in names), default=0)
    for name in names:
        verdict = ledger.verdicts[name]
        word = WORDS.get(verdict.action, "")
        shown = verdict.reasons[:MOST_REASONS]
        more = [f"and {len(verdict.reasons) - MOST_REASONS} more"] if len(verdict.reasons) > MOST_REASONS else []
        file.write(f"{word or 'current':8}{name:{width}}  {'; '.join(shown + more)}".rstrip() + "\n")
    counts = {action: sum(verdict.action is action for verdict in ledger.verdicts.values()) for action in Action}
    file.write(
        f"{counts[Action.RUN]} to run, {counts[Action.FOLLOW]} after them, {counts[Action.RESTORE]} to restore, "
        f"{counts[Action.CURRENT]} up to date\n"
    )
