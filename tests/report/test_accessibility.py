"""A page for who cannot see it, has no mouse, holds a phone, or prints it."""

import hashlib
import json
from pathlib import Path

import axe_core
import pytest
from browser import Browser
from report_place import Place

PAGES = ("sft", "index")


def test_axe_is_the_one_that_is_pinned() -> None:
    digest, name = (axe_core.FOLDER / "SHA256SUMS").read_text().splitlines()[1].split()
    assert hashlib.sha256((axe_core.FOLDER / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_violation(place: Place, browser: Browser, name: str) -> None:
    look = browser.look(place.folder / f"reports/{name}.html", actions=axe_core.examination())
    assert look.console == []
    assert axe_core.EXAMINED in look.document


def test_axe_would_tell(place: Place, browser: Browser) -> None:
    nameless = 'document.body.append(document.createElement("button"));'
    look = browser.look(place.folder / "reports/sft.html", actions=nameless + axe_core.examination())
    assert "button-name: " in "".join(look.console)


def test_arrow_keys_move_along_the_curves(place: Place, browser: Browser) -> None:
    actions = """
    const told = ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"].map((key) => {
      charts[1].host.dispatchEvent(new KeyboardEvent("keydown", { key }));
      return [charts[0].readout.textContent, charts[1].readout.textContent];
    });
    const steps = ["step 1", "step 2", "step 1", "step 1", "step 1"];
    const wanted = JSON.stringify(steps.map((step) => [step, step]));
    if (JSON.stringify(told) !== wanted) console.error(JSON.stringify(told));
    const hidden = [...document.querySelectorAll(".plot")].some((plot) => plot.tabIndex !== 0);
    if (hidden) console.error("a chart cannot be reached by the keyboard");
    """
    assert browser.look(place.folder / "reports/sft.html", actions=actions).console == []


@pytest.mark.parametrize("name", PAGES)
def test_rows_are_cards_on_a_phone(place: Place, browser: Browser, tmp_path: Path, name: str) -> None:
    """Each cell says of which column it is; a frame is as narrow as a phone, which a window of the browser is not."""
    inside = """
    const cells = [...document.querySelectorAll("tbody td[data-label]")];
    const told = cells.map((cell) => getComputedStyle(cell, "::before").content);
    const wide = [...document.querySelectorAll(".scroll")].filter((part) => part.scrollWidth > part.clientWidth + 1);
    const found = {
      cells: cells.length, cards: cells.every((cell) => getComputedStyle(cell.parentElement).display === "block"),
      nameless: told.filter((text) => text === "none" || text === '""').length,
      sideways: wide.filter((part) => !part.querySelector("svg.lineage")).length,
    };
    parent.postMessage(JSON.stringify(found), "*");
    """
    frame = tmp_path / "frame.html"
    page = browser.with_actions(place.folder / f"reports/{name}.html", f"setTimeout(() => {{{inside}}}, 300);")
    frame.write_text(
        '<body><script>addEventListener("message", (event) => console.error(`found ${event.data} end`));</script>'
        f'<iframe style="width:390px;height:2000px;border:0" src="{page.as_uri()}"></iframe></body>'
    )
    (told,) = browser.look(frame).console
    found = json.loads(told[told.index("found ") + 6 : told.index(" end")].replace('\\"', '"'))
    assert found["cells"] > 10 and found["cards"] and found["nameless"] == found["sideways"] == 0


def test_paper_has_no_controls(place: Place, browser: Browser, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browser.run((place.folder / "reports/sft.html").as_uri(), f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")
    style = (place.folder / "reports/sft.html").read_text().partition("@media print {")[2]
    assert "nav, .choices, .saves" in style
