"""The quotation as people read it, and as JSON for programs (docs/plan.md)."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TextIO

from heirloom.estimates.host_memory import HostMemory
from heirloom.estimates.overheads import GIB
from pipeline.plan.budgets import NO_BUDGETS, Budgets, budget_problems, misfit, money
from pipeline.plan.learned import Execution
from pipeline.plan.quotation import Quotation, Quote, RunQuote

SCHEMA = 1
"""Version of the JSON: a key is only ever added within one."""
HEADS = ("stage", "machine", "steps", "tokens", "hours", "dollars", "GPU memory", "host memory", "disk", "moved", "why")
NUMBERS = HEADS[2:6]
UNKNOWN = "–"
MOST_UNKNOWN = 4
Cells = tuple[str, ...]
"""A line of the table."""
Rows = tuple[RunQuote, list[Cells]]
"""A run and the lines of its stages."""


def print_quotation(found: Quotation, file: TextIO, budgets: Budgets = NO_BUDGETS) -> None:
    """Write the table, by run; then the sum, what reuse saves, and what is not known. Nothing without stages to quote.

    A terminal gets colours and rules, a pipe plain columns.
    """
    heads, rows = told([(run, [cells(quote) for quote in run.quotes]) for run in found.runs])
    if rows and file.isatty():
        print_for_people(heads, rows, file)
    elif rows:
        print_plain(heads, rows, file)
    for line in [*closing_lines(found), *(f"error: {text}" for text in budget_problems(found, budgets))]:
        file.write(line + "\n")


def told(rows: list[Rows]) -> tuple[Cells, list[Rows]]:
    """Return the heads and the rows without the columns of which nothing is known of any stage."""
    kept = [place for place in range(len(HEADS)) if any(line[place] != UNKNOWN for _, lines in rows for line in lines)]

    def of(line: Cells) -> Cells:
        return tuple(line[place] for place in kept)

    return of(HEADS), [(run, [of(line) for line in lines]) for run, lines in rows]


def print_plain(heads: Cells, rows: list[Rows], file: TextIO) -> None:
    """Write the table in columns that are as wide as what stands in them."""
    everything = [heads, *(row for _, lines in rows for row in lines)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(heads))]

    def line(row: Cells) -> str:
        return "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"

    file.write("\n" + line(heads))
    for run, lines in rows:
        file.write(f"{run.name}: {run.title}\n")
        file.writelines(map(line, lines))
    file.write("\n")


def print_for_people(heads: Cells, rows: list[Rows], file: TextIO) -> None:
    """Write the same with rich."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in heads:
        table.add_column(name, overflow="fold", justify="right" if name in NUMBERS else "left")
    console = Console(file=file, highlight=False)
    for run, lines in rows:
        table.add_row(Text(run.name, style="bold"), *([""] * (len(heads) - 1)))
        for quote, row in zip(run.quotes, lines, strict=True):
            style = ""
            if quote.fit is not None:
                style = "red" if not quote.fit.fits else "yellow" if quote.fit.tight else "green"
            texts = [
                Text(cell, style=style if head == "GPU memory" else "") for head, cell in zip(heads, row, strict=True)
            ]
            table.add_row(Text("  ") + texts[0], *texts[1:])
    for run, _ in rows:
        console.print(Text.assemble((run.name, "bold"), f": {run.title}"))
    console.print(table)


def cells(quote: Quote) -> Cells:
    """Return the texts of a stage's line; what is not known is a dash."""
    steps = quote.steps
    about = "" if steps is None or steps.exact else "≈ "
    most = "≤ " if quote.at_most else ""
    return (
        quote.stage.kind,
        quote.hosts.text,
        f"{most}{'' if steps.limited else about}{steps.steps:,}" if steps is not None and steps.steps else UNKNOWN,
        f"{most}{about}{short(steps.tokens)}" if steps is not None and steps.tokens else UNKNOWN,
        f"{most}{' – '.join(map(hours, found))}" if (found := seconds_of(quote)) else UNKNOWN,
        dollars_text(quote, most),
        memory_text(quote),
        host_memory_text(quote),
        size(quote.storage.disk) if quote.storage else UNKNOWN,
        moved_text(quote),
        quote.reasons[0] if quote.reasons else "",
    )


def dollars_text(quote: Quote, most: str) -> str:
    """Return US dollars on demand, and what spot capacity is thought to take; `most` stands before a bound."""
    if quote.dollars is None:
        return UNKNOWN
    return f"{most}{money(quote.dollars)}" + (f", spot ≈ {money(quote.spot.dollars)}" if quote.spot else "")


def memory_text(quote: Quote) -> str:
    """Return needed and had memory of a card, and whether that is too much."""
    if quote.fit is None:
        return UNKNOWN
    verdict = "does not fit" if not quote.fit.fits else "tight" if quote.fit.tight else ""
    peak = quote.last.measured.get("gpu_gib") if quote.last else None
    return " ".join(filter(None, [str(quote.fit), verdict, f"({peak:.1f} measured)" if peak else ""]))


def host_memory_text(quote: Quote) -> str:
    """Return needed and had main memory of a machine, and whether that is too much."""
    if quote.host_memory is None:
        return UNKNOWN
    return f"{quote.host_memory}{'' if quote.host_memory.fits else ' too little'}"


def moved_text(quote: Quote) -> str:
    """Return the bytes that come to the machines and go from them; a dash where nothing goes over the network."""
    found = quote.storage
    return UNKNOWN if found is None or not found.moves else f"{size(found.download)} in, {size(found.upload)} out"


def size(number: float) -> str:
    """Return 950 B, 12.3 kB, 4.56 MB, 7.8 GB or 1.2 TB."""
    for unit, large in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= large:
            return f"{number / large:.3g} {unit}"
    return f"{number:.0f} B"


def seconds_of(quote: Quote) -> tuple[float, ...]:
    """Return low, expected and high seconds; nothing where they are not known."""
    return (quote.duration.low, quote.duration.expected, quote.duration.high) if quote.duration else ()


def short(number: int) -> str:
    """Return 950, 12.3 k, 4.56 M or 7.8 G."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def hours(seconds: float) -> str:
    """Return hours with two digits that count."""
    value = seconds / 3600
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def closing_lines(found: Quotation) -> Iterator[str]:
    """Yield the sum, what reuse saves, remedies, and what is not known."""
    quotes = found.quotes
    known = [quote for quote in quotes if quote.duration is not None]
    if quotes:
        sums = [sum(values) for values in zip(*(seconds_of(quote) for quote in known), strict=True)]
        gpus = sum(quote.gpu_hours or 0 for quote in known)
        text = " – ".join(map(hours, sums)) or "unknown"
        more = f", {gpus:,.1f} GPU hours" if gpus else ""
        more += sum_of_dollars(known)
        missing = f"; not known of {len(quotes) - len(known)}" if len(known) < len(quotes) and known else ""
        most = "; at most, as early stopping may end trainings sooner" if any(quote.at_most for quote in known) else ""
        others = f"; {found.others} others not counted" if found.others else ""
        yield f"sum of {len(quotes)} stages: {text} hours{more}{most}{missing}{others}"
    if quotes and found.saved_recorded:
        saved = hours(found.saved_seconds)
        part = "" if found.saved_recorded == found.reused else f" (recorded of {found.saved_recorded})"
        yield f"{found.reused} stages up to date: {saved} hours not spent again{part}"
    yield from memory_lines(found)
    yield from (note for quote in quotes for note in quote.notes)
    unknown = list(dict.fromkeys(sentence for quote in quotes for sentence in quote.unknown))
    for sentence in unknown[:MOST_UNKNOWN]:
        yield f"not known: {sentence}"
    if len(unknown) > MOST_UNKNOWN:
        yield f"not known: {len(unknown) - MOST_UNKNOWN} more"


def sum_of_dollars(quotes: list[Quote]) -> str:
    """Return the sum on demand, and on spot capacity with where its share comes from, as the end of a sentence."""
    priced = [quote for quote in quotes if quote.dollars is not None]
    if not priced:
        return ""
    text = f", {money(sum(quote.dollars for quote in priced))} on demand"
    spot = [quote.spot for quote in priced if quote.spot]
    if not spot:
        return text
    of = "" if len(spot) == len(priced) else f" of {len(spot)}"
    sources = ", ".join(dict.fromkeys(each.source for each in spot))
    return f"{text}, spot ≈ {money(sum(each.dollars for each in spot))}{of} ({sources})"


def memory_lines(found: Quotation) -> Iterator[str]:
    """Yield a sentence for each stage that does not fit its cards, or hardly, or its machine's main memory."""
    for quote in found.quotes:
        if quote.host_memory is not None and not quote.host_memory.fits:
            yield (
                f"warning: {quote.stage.name}: {quote.hosts.name} has too little main memory, {quote.host_memory} at "
                "its peak: take a larger size of machine, or more of them"
            )
        if quote.fit is None or (quote.fit.fits and not quote.fit.tight):
            continue
        yield f"{'error' if not quote.fit.fits else 'warning'}: {misfit(quote)}"


def as_json(found: Quotation, more: dict[str, Any] | None = None) -> str:
    """Return the quotation for programs, with `more` keys at its end; docs/plan.md says what each key is."""
    runs = [
        {"run": run.name, "title": run.title, "stages": [stage_json(quote) for quote in run.quotes]}
        for run in found.runs
    ]
    reuse = {"stages": found.reused, "recorded": found.saved_recorded, "seconds": round(found.saved_seconds)}
    content = {"schema": SCHEMA, "runs": runs, "other_stages": found.others, "reuse": reuse}
    return json.dumps(content | (more or {}), indent=2)


def stage_json(quote: Quote) -> dict[str, Any]:
    """Return one stage of the JSON."""
    steps, duration, fit = quote.steps, quote.duration, quote.fit
    return {
        "stage": quote.stage.name,
        "reasons": quote.reasons,
        "machine": quote.hosts.name,
        "count": quote.hosts.count,
        "ranks": quote.hosts.ranks,
        "steps": steps and steps.steps,
        "tokens": steps and steps.tokens,
        "exact": steps and steps.exact,
        "at_most": quote.at_most,
        "seconds": duration
        and {key: round(getattr(duration, key)) for key in ("low", "expected", "high")} | {"source": duration.source},
        "gpu_memory_gib": fit
        and {
            "needed": round(fit.needed / GIB, 2),
            "card": round(fit.card / GIB, 2),
            "fits": fit.fits,
            "tight": fit.tight,
        },
        "host_memory_gib": quote.host_memory and host_memory_json(quote.host_memory),
        "bytes": quote.storage and {key: round(value) for key, value in asdict(quote.storage).items()},
        "usd_on_demand": None if quote.dollars is None else round(quote.dollars, 2),
        "usd_spot": quote.spot and {"expected": round(quote.spot.dollars, 2), "source": quote.spot.source},
        "last_execution": quote.last and last_json(quote.last),
        "remedy": quote.remedy,
        "notes": quote.notes,
        "unknown": quote.unknown,
    }


def host_memory_json(found: HostMemory) -> dict[str, float | None]:
    """Return the main memory of a machine, GiB."""
    machine = None if found.machine is None else round(found.machine / GIB, 2)
    return {"needed": round(found.needed / GIB, 2), "machine": machine}


def last_json(found: Execution) -> dict[str, Any]:
    """Return what was measured of the last execution; what was not is null."""
    tokens, steps = found.measured.get("tokens"), found.measured.get("training_s")
    return {
        "seconds": round(found.seconds),
        "tokens_per_second": round(tokens / steps, 1) if tokens and steps else None,
        "utilization": found.measured.get("mfu"),
        "gpu_memory_gib": found.measured.get("gpu_gib"),
        "process_gib": found.measured.get("process_gib"),
        **{f"{name}_seconds": found.measured.get(f"{name}_s") for name in ("start", "fetch", "push")},
    }
