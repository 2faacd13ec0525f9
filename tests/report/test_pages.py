"""The pages as the script makes them, seen by a browser: nothing is executed that a model said, all panels work."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest
from browser import Browser
from made_up_project import HOSTILE, IDENTITY, completions, make_project
from report_place import Place

from heirloom.errors import HeirloomError
from heirloom.report import execution_records
from heirloom.report.rewards.completions import completions_by_step

PAGES = ("sft", "index")
SIZES = {"desktop": 1280, "phone": 390}


def section(document: str, name: str) -> str:
    """Return the text of a section as a reader sees it, white space made single."""
    part = re.search(rf'<section id="{name}">.*?</section>', document, re.DOTALL)[0]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", part)))


def setting(control: str, value: str, event: str = "change") -> str:
    """Return the JavaScript of a reader who sets a control."""
    element = f"document.getElementById({json.dumps(control)})"
    return f"{element}.value = {json.dumps(value)}; {element}.dispatchEvent(new Event({json.dumps(event)}));"


@pytest.mark.parametrize("name", PAGES)
def test_a_browser_opens_the_page_without_a_word_on_its_console(place: Place, browser: Browser, name: str) -> None:
    look = browser.look(place.folder / f"reports/{name}.html")
    assert look.console == []
    # loss with held-out loss, learning rate, gradient norm, a hostile one; tokens/s, MFU, memory
    assert look.document.count('class="u-wrap"') == 7
    assert "Where is the house number 1?" in section(look.document, "generations")


def test_the_browser_would_tell_of_an_error(place: Place, browser: Browser) -> None:
    look = browser.look(place.folder / "reports/sft.html", actions="no_such_thing();")
    assert "no_such_thing is not defined" in "".join(look.console)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_pictures_on_a_desk_on_a_phone_and_in_the_dark(
    place: Place, browser: Browser, tmp_path: Path, name: str, size: str, dark: bool
) -> None:
    image = tmp_path / f"{name}.png"
    look = browser.screenshot(place.folder / f"reports/{name}.html", image, width=SIZES[size], dark=dark)
    assert look.console == []
    assert image.read_bytes().startswith(b"\x89PNG") and image.stat().st_size > 20_000


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_need_not_scroll_sideways(place: Place, browser: Browser, name: str) -> None:
    narrow = (
        'document.body.style.width = "390px";'
        'document.body.style.margin = "0"; window.dispatchEvent(new Event("resize"));'
        "let looks = 0; const look = () => {"  # charts follow their figures once these have their new width
        '  const beyond = [...document.querySelectorAll("body *")].filter((part) =>'
        '    part.getBoundingClientRect().right > 391 && !part.closest("#lineage .scroll, svg"));'
        "  if (beyond.length && looks++ < 30) setTimeout(look, 100);"
        "  else beyond.forEach((part) => console.error(part.outerHTML));"
        "}; look();"
    )
    assert browser.look(place.folder / f"reports/{name}.html", actions=narrow).console == []


def test_what_a_model_said_is_shown_and_not_executed(place: Place, browser: Browser) -> None:
    for name in PAGES:
        look = browser.look(place.folder / f"reports/{name}.html")
        assert look.console == []
        assert re.sub(r"\s+", " ", HOSTILE) in html.unescape(look.document)
        assert "<img" not in look.document
        assert look.document.count("<script") == 4


def test_answers_that_were_learned_from_stand_by_step_with_their_rewards(place: Place) -> None:
    document = (place.folder / "reports/sft.html").read_text()
    shown = section(document, "completions")
    assert "step 1: mean reward 1 " in shown and "step 40: mean reward 1 " in shown
    assert "Gladly!" in shown and "polite 1" in shown and "in all 2 advantage +0.5" in shown
    assert "(not ended)" in shown and "metrics/completions/sft.jsonl" in shown
    assert HOSTILE.split("<img")[0] not in document.partition('id="completions"')[2].partition("</section>")[0]
    assert 'id="completions"' not in (place.folder / "reports/index.html").read_text()


@pytest.mark.parametrize("damage", [{"prompt": None}, {"reward": "5"}, {"rewards": {"polite": []}}, {"step": [1]}])
def test_a_damaged_row_of_answers_is_named(tmp_path: Path, damage: dict) -> None:
    file = tmp_path / "sft.jsonl"
    rows = completions()
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0] | damage]))
    with pytest.raises(HeirloomError, match=f"sft.jsonl, line {len(rows) + 1}: is no answer with its rewards; train"):
        completions_by_step(file)


def test_a_damaged_file_of_answers_is_named(tmp_path: Path) -> None:
    place = Place(make_project(tmp_path))
    file = tmp_path / "metrics/completions/sft.jsonl"
    file.write_text(file.read_text() + '{"step": 1}\n')
    done = place.report_run("sft", check=False)
    assert done.returncode == 1
    assert "metrics/completions/sft.jsonl, line 5: is no answer with its rewards; train the run again" in done.stderr


def test_searching_and_filtering_the_generations(place: Place, browser: Browser) -> None:
    page = place.folder / "reports/sft.html"

    def count(actions: str) -> str:
        return re.search(r"\d+ of 50 prompts", section(browser.look(page, actions=actions).document, "generations"))[0]

    assert count("") == "50 of 50 prompts"
    found = browser.look(page, actions=setting("search", "NUMBER 12?", "input")).document
    assert "1 of 50 prompts" in section(found, "generations")
    assert "<mark>number 12?</mark>" in found
    assert count(setting("agreement", "differ")) == "24 of 50 prompts"  # the hostile answer is the same of both
    assert count(setting("agreement", "right")) == "25 of 50 prompts"
    assert count(setting("finish", "length")) == "1 of 50 prompts"


def test_a_runs_page_calls_better_only_what_lies_outside_the_noise(place: Place, browser: Browser) -> None:
    document = browser.look(place.folder / "reports/sft.html").document
    compared = re.sub("<h3>(Gates|Held-out rows).*?(?=<h3>|</section>)", "", document, flags=re.DOTALL)
    rows = {cells[0]: cells[-1] for cells in table_rows(compared, "scores")}
    assert rows["exact_match"] == "+0.58 0.55 to 0.61 better"
    assert rows["patterns.polite"] == "+0.02 -0.05 to 0.09 within the noise"
    assert rows["perplexity"] == "-726.1 not judged"  # 729 → 3.2, but its interval is not known
    assert rows["pre"] == "0.8 0.7 to 0.88 better"
    assert rows["finds.acc"] == "+0.25 0.2 to 0.3 higher"


def test_a_runs_page_opens_what_was_answered_to_the_harness(place: Place) -> None:
    page = (place.folder / "reports/sft.html").read_text()
    samples = re.search(r"<details><summary>finds.*?</details>", page, flags=re.DOTALL)[0]
    assert "Who found it? &lt;/script&gt;" in samples and '<td class="text"> Bo</td>' in samples
    assert 'href="../samples/sft/finds.jsonl"' in samples


def test_a_run_begins_with_what_got_better_and_worse_and_what_was_trained(place: Place, browser: Browser) -> None:
    page = (place.folder / "reports/sft.html").read_text()
    assert page.index('class="headline"') < page.index('<section id="scores">') < page.index('<section id="lineage">')
    first = html.unescape(re.sub(r"<[^>]+>", " ", page[page.index("<header>") : page.index("<nav")]))
    first = re.sub(r"\s+", " ", first)
    assert "better exact_match 0.02 → 0.6 +0.58, 0.55 to 0.61 gate failed harness.finds.acc" in first
    assert "Other scores: 1 within the noise, 1 not judged. 2 of 3 gates passed." in first
    assert "trained by sft from pre on chats rows 4,993 held-out rows 113 steps 40 tokens 81,920" in first
    assert "parameters 1,234,567 of them trained 2,048 (0.17%)" in first
    assert (
        "The checkpoint is the state after step 30 of 40 that were trained; early stopping ended the training." in first
    )
    assert "5400" not in first and "USD" not in first  # time and money stand in their panel alone


def test_gates_are_shown_kept_or_not(place: Place) -> None:
    place.report_run("sft")
    page = " ".join((place.folder / "reports/sft.html").read_text().split())
    assert "&gt;= 0.3</td><td>passed</td><td>0.41 (0.31 to 0.51) keeps &gt;= 0.3<" in page
    assert "by 0.1</td><td>passed</td><td>-0.04 (-0.06828 to -0.01172) keeps &gt;= -0.1<" in page
    assert "&gt;= 0.8</td><td>failed</td><td>0.75 (0.7304 to 0.7696) does not keep &gt;= 0.8<" in page


def test_seeds_give_mean_and_spread_and_their_noise_is_no_improvement(place: Place, browser: Browser) -> None:
    page = place.folder / "reports/index.html"
    scores = {cells[0]: cells[1] for cells in table_rows(browser.look(page).document, "scores")}
    # 0.60 and 0.66: mean 0.63, standard deviation 0.0424, t(1) = 12.706: 0.63 ± 12.706 × 0.0424 / √2 = 0.381
    assert scores["sft, sft-seed1 2 seeds"] == "0.63 0.2488 to 1.011 spread 0.04243"
    assert "finds.acc" in section(browser.look(page).document, "scores")
    assert scores["sft-fast"].startswith("0.64 0.62 to 0.66")

    def verdict(first: str, second: str) -> dict[str, str]:
        position = {"pre": "0", "sft": "1", "sft-fast": "2"}
        actions = setting("compare-first", position[first]) + setting("compare-second", position[second])
        rows = table_rows(browser.look(page, actions=actions).document, "scores")
        return {cells[0]: cells[-1] for cells in rows[3:]}

    assert verdict("pre", "sft")["exact_match"].endswith("better (one seed)")
    compared = verdict("sft", "sft-fast")
    assert compared["exact_match"].endswith("within the noise (one seed)")
    assert compared["perplexity"].endswith("not judged")


def table_rows(document: str, name: str) -> list[list[str]]:
    """Return the cells of every body row in a section."""
    part = re.search(rf'<section id="{name}">.*?</section>', document, re.DOTALL)[0]
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)
    ]
    plain = [
        [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", cell)).split()).replace(" ,", ",") for cell in row]
        for row in rows
    ]
    return [row for row in plain if len(row) > 1 and row[1] not in ("", "base", "before", "win rate", "from")]


def test_config_differences_are_those_to_the_base_until_another_run_is_chosen(place: Place, browser: Browser) -> None:
    document = browser.look(place.folder / "reports/sft.html").document
    rows = {cells[0]: cells[1:] for cells in table_rows(document, "config")}
    assert rows["training.learning_rate"] == ["0.001", "0.0002"]
    assert rows["evaluation.metrics"] == ['["exact_match"]', '["exact_match","patterns"]']
    assert "training.max_steps" not in rows and "generation.max_new_tokens" not in rows
    chosen = setting("config-first", "sft-fast") + setting("config-second", "sft")
    document = browser.look(place.folder / "reports/index.html", actions=chosen).document
    rows = {cells[0]: cells[1:] for cells in table_rows(document, "config")}
    assert {key for key in rows if key != "key"} == {"training.learning_rate"}


def test_time_and_money_are_shown_where_recorded_and_never_invented(place: Place) -> None:
    shown = section((place.folder / "reports/sft.html").read_text(), "records")
    assert "2 of 7 stages are recorded here" in shown
    assert "train-sft 1 h 30 min 2026-11-24 10:00:00 UTC 16 cuda 01234567 90.00 USD" in shown
    assert "7.00 USD" not in shown  # what was paid for another execution
    assert "evaluate-sft not recorded here" in shown and "expected" not in shown


def test_what_the_plan_expected_stands_beside_what_an_execution_took(tmp_path: Path) -> None:
    place = Place(make_project(tmp_path / "place"))
    kept = place.folder / ".heirloom/estimates"
    kept.mkdir()
    expected = {"seconds": {"low": 1, "expected": 3600.0, "high": 9}, "count": 2, "usd": 80}
    (kept / "train-sft.json").write_text(json.dumps(expected | {"quoted": "2026-11-24T09:59:00Z"}))
    place.report_run("sft")
    shown = section((place.folder / "reports/sft.html").read_text(), "records")
    assert re.search(r"train-sft 1 h 30 min \(1 h( 0+ min)? expected\) 2026-11-24 10:00:00 UTC", shown), shown
    assert "90.00 USD (80.00 expected)" in shown
    record = {"started": "2026-11-24T10:00:00Z", "ranks": {"nodes": 2}}
    assert execution_records.expected("train-sft", record, kept) == {"seconds": 3600.0, "usd": 80}
    assert execution_records.expected("train-sft", record | {"ranks": {"nodes": 1}}, kept) is None
    whole = expected | {"quoted": "2026-11-24T09:59:00Z"}
    for other in (expected, whole | {"quoted": "2026-11-24T10:00:01Z"}, {"quoted": "x", "count": 1}, []):
        (kept / "train-sft.json").write_text(json.dumps(other))
        assert execution_records.expected("train-sft", record, kept) is None


NO_AMOUNTS = (float("nan"), float("inf"), 10**400, -5, True, "90.0", [90.0])


def test_damaged_records_are_passed_over_as_if_they_were_not_there(place: Place, tmp_path: Path) -> None:
    estimate = {"quoted": "2026-11-24T09:59:00Z", "count": 2, "usd": 80}
    seconds = {"low": 1, "expected": 3600.0, "high": 9}
    kept = [estimate | {"seconds": seconds | {"expected": no}} for no in (*NO_AMOUNTS, None)]
    kept += [estimate | {"seconds": seconds, "usd": no} for no in NO_AMOUNTS]
    kept += [estimate | {"seconds": seconds, "count": no} for no in (0, -1, 2.0, True, 10**400)]
    kept.append({"quoted": estimate["quoted"], "count": 2, "seconds": seconds})
    for each in kept:
        (tmp_path / "train-sft.json").write_text(json.dumps(each))
        assert execution_records.estimate_of("train-sft", tmp_path) is None, each
    record = json.loads((place.folder / ".heirloom/records/train-sft.json").read_text())
    whole = {"job_key": record["identity"], "cost_usd": 90.0}
    assert execution_records.cost(record, whole) == 90.0
    jobs = [whole | {"cost_usd": no} for no in (*NO_AMOUNTS, None)] + [{"cost_usd": 90.0}, {"job_key": IDENTITY}]
    for job in jobs:
        assert execution_records.cost(record, job) is None, job
    assert execution_records.cost({key: record[key] for key in record if key != "identity"}, {"cost_usd": 9.0}) is None
    assert not any(execution_records.is_execution(record | {"seconds": no}) for no in NO_AMOUNTS)


def test_a_page_is_made_of_damaged_records_as_if_they_were_not_there(tmp_path: Path) -> None:
    place = Place(make_project(tmp_path / "place"))
    kept = place.folder / ".heirloom/estimates"
    kept.mkdir()
    seconds = {"low": 1, "expected": 10**400, "high": 9}
    estimate = {"quoted": "2026-11-24T09:59:00Z", "seconds": seconds, "count": 2, "usd": float("nan")}
    (kept / "train-sft.json").write_text(json.dumps(estimate))
    (place.folder / ".heirloom/costs/train-sft.json").write_text('{"cost_usd": 90.0}')
    place.report_run("sft")
    shown = section((place.folder / "reports/sft.html").read_text(), "records")
    assert "train-sft 1 h 30 min 2026-11-24 10:00:00 UTC" in shown
    assert "90.00 USD" not in shown and "expected" not in shown


def test_equal_content_gives_equal_bytes_but_for_the_records(place: Place, tmp_path: Path) -> None:
    other = Place(make_project(tmp_path / "another/place"))
    shutil.rmtree(other.folder / ".heirloom")
    other.report_run("sft")
    pages = [(each.folder / "reports/sft.html").read_text() for each in (place, other)]
    assert pages[0] != pages[1]
    content = [re.sub(r'<section id="records">.*?</section>', "", page, flags=re.DOTALL) for page in pages]
    assert content[0] == content[1]
    assert str(place.folder) not in pages[0]


def test_nothing_is_fetched(place: Place) -> None:
    for name in PAGES:
        page = (place.folder / f"reports/{name}.html").read_text()
        assert not re.search(r"<(link|script|img|iframe)[^>]*\b(src|href)=", page)
        assert "default-src 'none'" in page


def test_mistakes_are_told_in_a_sentence(place: Place, tmp_path: Path) -> None:
    broken = Place(make_project(tmp_path / "broken"))
    (broken.folder / "metrics/loss/sft.csv").write_text("step,loss\n1,two\n")
    done = broken.report_run("sft", check=False)
    assert done.returncode == 1
    assert done.stderr == "error: metrics/loss/sft.csv, line 2: is not a row of numbers; train the run again\n"
    (tmp_path / "empty").mkdir()
    done = Place(tmp_path / "empty").run("--all")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no run of config/runs/ has results here yet")


def test_exports_of_this_clone_are_shown_beside_their_checkpoint(tmp_path: Path) -> None:
    place = Place(make_project(tmp_path / "place"))
    right = {
        "run": "sft", "place": "exports/sft", "checkpoint": "0123456789", "weights": "0123456789", "dtype": "bfloat16",
        "dataset": "chats", "tokens": 1135, "perplexity": {"checkpoint": 1.5, "export": 1.5}, "nats_apart": 0.0,
        "nats_allowed": 0.002, "answers": 8, "answers_differing": 0, "answers_allowed": 1, "passed": True,
        "problems": [],
    }  # fmt: skip
    unread = {"passed": False, "perplexity": {"checkpoint": 1.5, "export": None}, "nats_apart": None}
    unread |= {"answers_differing": None, "problems": [HOSTILE]}
    strange = [right | {"tokens": "many"}, right | {"problems": [1]}, right | {"perplexity": 1.5}, {"passed": True}, 7]
    folder = place.folder / ".heirloom/exports"
    folder.mkdir()
    (folder / "sft.json").write_text(json.dumps({"exports": [right, {**right, **unread, "place": "b"}, *strange]}))
    place.report_run("sft")
    assert place.run("--all").returncode == 0
    for name in PAGES:
        page = (place.folder / f"reports/{name}.html").read_text()
        shown = section(page, "exports")
        assert (
            "exports/sft the checkpoint sft, bfloat16, weights 01234567 1.5 1.5 chats 0 0.002 allowed 0 of 8" in shown
        )
        assert "b refused" in shown and page.count("<th>exports/sft</th>") == 1 and "<img src=x" not in page
    (folder / "sft.json").write_text(json.dumps({"exports": 7}))
    place.report_run("sft")
    assert '<section id="exports">' not in (place.folder / "reports/sft.html").read_text()
