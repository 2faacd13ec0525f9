"""The page of all runs: its table, and what a thousand runs make of it."""

import json
from pathlib import Path

import pytest
from browser import Browser
from made_up_project import CONFIGS, EXACT_MATCH, PERPLEXITY, SFT, evaluation, write
from report_place import Place

from heirloom.report.all_runs import SIDE_BY_SIDE, common_and_own, runs_table
from heirloom.report.execution_records import by_kind
from heirloom.report.page import render
from heirloom.report.page_content import all_runs_content

OF_A_READER = """
const expect = (found, wanted) => {
  const [one, other] = [found, wanted].map((value) => JSON.stringify(value));
  if (one !== other) console.error(`found ${one}, not ${other}`);
};
const lines = () => [...byId("run-table").tBodies[0].rows].map((row) => row.cells[0].textContent);
const filter = (text) => {
  byId("run-filter").value = text;
  byId("run-filter").dispatchEvent(new Event("input"));
};
const head = (name) => [...byId("run-table").tHead.rows[0].cells].find((cell) => cell.textContent === name);
"""


def test_columns_are_the_keys_that_differ_and_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    score = {"mean": 0.123456789, "spread": None, "interval": [0.1, 0.2], "seeds": 1, "prompts": 9}
    groups = [{"runs": ["pre"], "scores": {}}, {"runs": ["sft", "sft-seed1"], "scores": {"exact_match": score}}]
    table = runs_table(groups, CONFIGS, ["sft"])
    assert "training.learning_rate" in table["keys"] and "training.max_steps" not in table["keys"]
    assert not {"training.seed", "gates.exact_match"} & {*table["keys"]}
    first, second = table["rows"]
    assert first["scores"] == [None] and second["scores"] == [[0.123457, 0.1, 0.2, None, 1]]
    assert (second["runs"], second["linked"]) == (["sft", "sft-seed1"], ["sft"])
    place = table["keys"].index("deepspeed")
    assert (first["values"][place], second["values"][place]) == ("zero2", None)


def test_what_all_configs_have_alike_is_told_once() -> None:
    flat = {"a": {"x": 1, "y": 2, "z": None}, "b": {"x": 1, "y": 3}}
    assert common_and_own(flat) == {"common": {"x": 1}, "own": {"a": {"y": 2, "z": None}, "b": {"y": 3}}}


def test_times_of_many_stages_are_summed_by_kind() -> None:
    rows = [
        {"stage": f"train-{name}", "record": {"seconds": 2.0}, "usd": usd} for name, usd in (("a", None), ("b", 3.0))
    ]
    rows.append({"stage": "generate-a-b", "record": None, "usd": None})
    assert by_kind(rows) == {
        "train": {"stages": 2, "recorded": 2, "seconds": 4.0, "usd": 3.0},
        "generate": {"stages": 1, "recorded": 0, "seconds": 0, "usd": None},
    }


def test_the_table_is_sorted_and_filtered(place: Place, browser: Browser) -> None:
    look = browser.look(
        place.folder / "reports/index.html",
        actions=OF_A_READER
        + """
        expect(lines(), ["pre", "sft, sft-seed1 2 seeds", "sft-fast"]);
        head("exact_match").firstChild.click();
        expect([lines(), head("exact_match").ariaSort], [["sft-fast", "sft, sft-seed1 2 seeds", "pre"], "descending"]);
        head("exact_match").firstChild.click();
        expect([lines()[0], head("exact_match").ariaSort], ["pre", "ascending"]);
        head("training.learning_rate").firstChild.click();
        expect([lines()[0], head("exact_match").ariaSort], ["sft, sft-seed1 2 seeds", "none"]);
        head("deepspeed").firstChild.click();
        head("deepspeed").firstChild.click();
        expect(lines()[0], "pre");  // what is missing comes last, whichever way
        filter("FAST");
        expect([lines(), byId("run-count").textContent], [["sft-fast"], "1 of 3 lines"]);
        expect([...chosen.hidden].filter((name) => !name.includes("held-out")).sort(), ["pre", "sft", "sft-seed1"]);
        filter("exact_match>0.5 learning_rate=0.0002");
        expect(lines(), ["sft, sft-seed1 2 seeds"]);
        filter("exact_match<=0.02");
        expect(lines(), ["pre"]);
        filter("perplexity>=99");
        expect([lines(), byId("run-count").textContent], [[], "0 of 3 lines"]);
        filter("");
        expect([lines().length, chosen.hidden.size], [3, 0]);
        expect(document.querySelector("#run-table a").getAttribute("href"), "sft.html");
        """,
    )
    assert look.console == []


def test_a_thousand_runs_are_a_small_page(tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores alone: no curve, no answer, no drawing; those stand on each run's own page."""
    monkeypatch.chdir(tmp_path)
    configs = {}
    for number in range(1000):
        name = f"sweep-lr-{number:04}"
        rate = {**SFT["training"], "learning_rate": 1e-5 * (1 + number), "global_batch_size": (8, 16)[number % 2]}
        configs[name] = {**SFT, "base": "tiny", "training": rate, "gates": {}}
        monkeypatch.setitem(EXACT_MATCH, name, 0.5 + number / 4000)
        monkeypatch.setitem(PERPLEXITY, name, 3.0)
        write(tmp_path, f"metrics/evaluation/{name}.json", evaluation(name))
    write(tmp_path, "generations/sweep-lr-0000/generations.jsonl", "no JSON, and not read\n")
    content = all_runs_content(configs, [])
    rows = [{"stage": f"train-{name}", "record": None, "usd": None} for name in configs]
    records = {"rows": rows, "recorded": 0, "seconds": 0, "usd": None, "priced": 0, "kinds": by_kind(rows)}
    records["throughput"] = {}
    page = render(content, records)
    assert len(page.encode()) < 5_000_000
    assert (content["lineage"], content["prompts"], content["side_by_side"]) == (None, [], False)
    assert len(content["comparisons"]) > len(configs) > SIDE_BY_SIDE
    (tmp_path / "index.html").write_text(page)
    look = browser.look(
        tmp_path / "index.html",
        actions=OF_A_READER
        + """
        expect([lines().length, byId("run-count").textContent], [100, "1000 of 1000 lines"]);
        filter("global_batch_size=16 exact_match>0.745");
        expect([lines().length, byId("more-runs").hidden], [10, true]);
        filter("");
        byId("more-runs").click();
        expect([lines().length, byId("more-runs").hidden], [1000, true]);
        head("exact_match").firstChild.click();
        expect(lines()[0], "sweep-lr-0999");
        """,
    )
    assert look.console == []
    assert "each run's own page" in look.document and json.dumps("sweep-lr-0999") in page
