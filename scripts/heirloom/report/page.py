"""Content → one HTML file that needs nothing else: style, script and data are inside, and nothing is fetched.

All text goes through Jinja's escaping, or as JSON to the script, which writes it as text and never as HTML.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

PARTS = Path(__file__).parent / "page"


def render(content: dict[str, Any], records: dict[str, Any]) -> str:
    """Return the page of `content` (heirloom.report.page_content), with the panel of `records` filled in.

    Equal content gives equal bytes but for that panel, `<section id="records">`.
    """
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {"number": number, "signed": signed, "duration": duration}
    return environment.get_template("page.html.jinja").render(
        content=content,
        embedded=embedded(content),
        records=records,
        style=part("page.css"),
        script=Markup('"use strict";\n') + part("curves.js") + part("all_runs.js") + part("page.js"),
        library=Markup("/*\n") + part("uplot/LICENSE") + Markup("*/\n") + part("uplot/uPlot.iife.min.js"),
        library_style=part("uplot/uPlot.min.css"),
    )


def part(name: str) -> Markup:
    """Return a file of `page/` as it is; what stands there is ours, or the charting library's."""
    return Markup((PARTS / name).read_text(encoding="utf-8"))


def embedded(content: dict[str, Any]) -> dict[str, Any]:
    """Return what the page's script draws; the rest is in the HTML already."""
    names = ("subject", "configs", "prompts", "prompts_in_all", "answering", "table", "comparisons", "all_compared")
    names += ("side_by_side",)
    drawn = [{"name": run["name"], "curves": run["curves"], **course(run["training"])} for run in content["runs"]]
    return {"title": content["title"], "runs": drawn, **{name: content[name] for name in names}}


def course(training: dict[str, Any]) -> dict[str, Any]:
    """Return how long a training was, {steps, tokens}, and the step whose state was kept where that was chosen."""
    train = training.get("train", {})
    return {"steps": train.get("steps"), "tokens": train.get("tokens"), "kept": train.get("kept_step")}


def number(value: Any) -> str:
    """Return a number as a reader wants it: thousands apart, four digits of a fraction; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return digits(value) if isinstance(value, float) else str(value)


def digits(value: float, sign: str = "") -> str:
    """Return four digits of a number, all of those before the point where a reader can take them in."""
    return f"{value:{sign},.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:{sign}.4g}"


def signed(value: Any) -> str:
    """Return a difference with its sign."""
    return number(value) if value is None or isinstance(value, str) else digits(value, "+")


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds, as far as they matter."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole, minutes = round(seconds), round(seconds / 60)
    return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{minutes // 60} h {minutes % 60:02} min"
