"""Why a plan is not submitted: stages that cannot fit their cards, budgets that would be passed or cannot be held."""

from dataclasses import dataclass, field

from pipeline.plan.costs import Bill
from pipeline.plan.quotation import Quotation, Quote


@dataclass(frozen=True)
class Budgets:
    """The most US dollars of a command and of a calendar month; None: no limit."""

    command: float | None = None
    month: float | None = None
    name_of_month: str = ""
    """As records write it: 2026-11."""
    billed: Bill = field(default_factory=Bill)
    """What this clone's jobs of the month were billed so far."""


NO_BUDGETS = Budgets()


def refusals(found: Quotation, budgets: Budgets = NO_BUDGETS) -> list[str]:
    """Return why nothing is submitted: stages that cannot fit, runs, a whole command or a month above their budget.

    A budget that cannot be held, because a price or a time is not known, refuses too.
    """
    why = [
        f"{misfit(quote)}; `plan: {{memory: warn}}` in {run.path} goes on all the same"
        for run, quote in found.misfits()
        if run.memory == "error"
    ]
    return why + budget_problems(found, budgets)


def misfit(quote: Quote) -> str:
    """Return why a stage does not fit, or hardly, with the cheapest change that does."""
    word = "has too little memory" if not quote.fit.fits else "is tight"
    machine = quote.hosts.name if quote.hosts.count == 1 else quote.hosts.text
    remedy = f"; {quote.remedy}" if quote.remedy else "; take a machine with larger GPUs"
    return f"{quote.stage.name}: {machine} {word}, {quote.fit} a GPU at its peak ({quote.fit.phase}){remedy}"


def budget_problems(found: Quotation, budgets: Budgets) -> list[str]:
    """Return a sentence for each budget that would be passed or cannot be held."""
    why = []
    for run in found.runs:
        if run.budget is not None:
            why += above(run.budget, f"{run.path}: plan.budget", run.quotes)
    if budgets.command is not None:
        why += above(budgets.command, "--config budget", found.quotes)
    if budgets.month is not None:
        why += above(budgets.month, "--config month_budget", found.quotes, budgets.billed, budgets.name_of_month)
    return why


def above(budget: float, place: str, quotes: list[Quote], billed: Bill | None = None, month: str = "") -> list[str]:
    """Return a sentence where stages pass a budget, or may: it names them, and what was billed in the month before."""
    rented = [quote for quote in quotes if quote.is_rented]
    names = ", ".join(quote.stage.name for quote in rented)
    total = sum(quote.dollars or 0 for quote in rented)
    spent = billed.dollars if billed else 0.0
    limit = f"{place} is {money(budget)}" + (f", {money(spent)} of {month} are billed" if billed else "")
    if rented and spent + total > budget:
        return [f"{limit}, and {names} would take {money(total)}: raise it, or select fewer runs"]
    if unknown := ", ".join(quote.stage.name for quote in rented if quote.dollars is None):
        return [f"{limit}, and what {unknown} will cost is not known (price or time): remove it"]
    if rented and billed and billed.unpriced:
        tries = f"{billed.unpriced} of {billed.attempts} attempts"
        return [f"{limit}, and what {tries} cost is not known: `make prices REGION=…`, or remove it"]
    return []


def money(dollars: float) -> str:
    """Return US dollars, cents of small sums."""
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:.2f}"
