"""The curves of a page, driven as a reader does: each check is JavaScript that tells the console of what is not so."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from browser import Browser
from made_up_project import TRAINED, make_project
from report_place import Place

LIBRARY = Path(__file__).resolve().parents[2] / "scripts/heirloom/report/page/uplot"
OF_A_READER = """
const expect = (found, wanted) => {
  const [one, other] = [found, wanted].map((value) => JSON.stringify(value));
  if (one !== other) console.error(`found ${one}, not ${other}`);
};
const set = (id, value, event = "change") => {
  const control = byId(id);
  if (control.type === "checkbox") control.checked = value; else control.value = value;
  control.dispatchEvent(new Event(event));
};
const mouse = (target, type, x, y = 60) => {
  const box = charts[1].plot.over.getBoundingClientRect();
  const place = { clientX: box.left + x, clientY: box.top + y, movementX: 5 };
  target.dispatchEvent(new MouseEvent(type, { bubbles: true, button: 0, ...place }));
};
const [loss, rate] = charts;
const sft = (line) => line.run.name === "sft";
const xs = (chart) => [chart.plot.scales.x.min, chart.plot.scales.x.max];
"""


@pytest.fixture
def reader(place: Place, browser: Browser):
    """Do what a reader does on the page of a run, or of all; fail on the first word on the console."""

    def act(actions: str, name: str = "sft") -> str:
        look = browser.look(place.folder / f"reports/{name}.html", actions=OF_A_READER + actions)
        assert look.console == []
        return look.document

    return act


def test_the_library_is_the_one_that_is_pinned_and_small(place: Place) -> None:
    sums = [line.split() for line in (LIBRARY / "SHA256SUMS").read_text().splitlines()[1:]]
    assert {name for _, name in sums} == {file.name for file in LIBRARY.iterdir()} - {"SHA256SUMS"}
    page = (place.folder / "reports/sft.html").read_text()
    size = 0
    for digest, name in sums:
        content = (LIBRARY / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, name
        assert content.decode() in page
        size += len(content)
    assert size < 120_000 and "Copyright (c)" in page


def test_rewards_stand_first_with_their_parts_then_what_answers_are_like(tmp_path: Path, browser: Browser) -> None:
    place = Place(make_project(tmp_path))
    columns = "step,loss,num,completions_mean_length,completions_finished,rewards_polite_mean,reward,kl,entropy"
    (tmp_path / "metrics/loss/sft.csv").write_text(f"{columns},clip_ratio_region_mean\n" + "1,1,1,1,1,1,1,1,1,1\n" * 2)
    place.report_run("sft")
    titles = """
      expect(charts.slice(0, 8).map((chart) => titleOf(chart.quantity)), ["Loss", "Rewards polite mean", "Reward",
      "Length of answers (tokens)", "Share of finished answers", "KL divergence", "Entropy", "Clipped share"]);"""
    assert browser.look(tmp_path / "reports/sft.html", actions=OF_A_READER + titles).console == []


def test_each_quantity_has_a_chart_with_its_held_out_values_over_it(reader) -> None:
    document = reader(
        """
        expect(charts.map((chart) => chart.quantity).slice(0, 3), ["loss", "learning_rate", "grad_norm"]);
        expect(loss.lines.map((line) => [line.name, line.points.length]), [["training", 40], ["held-out", 2]]);
        expect(loss.series.map((series) => series.points.show), [false, true]);  // two values are points, not a line
        expect(loss.series[1].paths() ?? null, null);
        expect(loss.plot.axes.map((axis) => axis.label), ["step", "Loss"]);
        expect(loss.plot.series.slice(1).map((series) => series.show), [true, true]);
        """
    )
    assert 'aria-label="Loss: training ' in document and "held-out 6.6 at step 0, 1.4 at step 40" in document


def test_the_pointer_is_followed_in_all_charts(reader) -> None:
    document = reader(
        """
        mouse(rate.plot.over, "mouseenter", 60);
        mouse(rate.plot.over, "mousemove", 60);
        const step = rate.plot.data[0][rate.plot.cursor.idx];
        expect(rate.readout.textContent, `step ${step}`);
        expect(loss.readout.textContent, `step ${step}`);
        const [, value] = loss.lines[0].points.find((point) => point[0] === step);
        expect(loss.legend[0].value.textContent, ` ${short(value)}`);
        expect(rate.host.querySelectorAll(".u-cursor-pt:not(.u-off)").length, 1);  // the dot
        """
    )
    assert "u-cursor-pt" in document


def test_dragging_zooms_all_charts_and_a_button_shows_all_again(reader) -> None:
    reader(
        """
        const before = xs(loss);
        mouse(rate.plot.over, "mousemove", 50);
        mouse(rate.plot.over, "mousedown", 50);
        mouse(rate.plot.over, "mousemove", 150);
        mouse(document, "mouseup", 150);
        Promise.resolve().then(() => setTimeout(() => {
          const zoomed = charts.map(xs);
          expect(zoomed[0], zoomed[1]);
          expect([zoomed[0][0] > before[0], zoomed[0][1] < before[1], byId("zoom-out").disabled], [true, true, false]);
          byId("zoom-out").click();
          setTimeout(() => expect([xs(loss), xs(rate), byId("zoom-out").disabled], [before, before, true]), 50);
        }, 50));
        """
    )


def test_axes_and_smoothing(reader) -> None:
    tokens = TRAINED["tokens"] // TRAINED["steps"]
    reader(
        f"""
        set("curve-x", "tokens");
        expect([loss.plot.axes[0].label, Math.max(...loss.plot.data[0])], ["tokens (of the mean step)", 40 * {tokens}]);
        set("curve-x", "time");  // 20 steps in 400 s, 20 in 200 s
        expect(loss.plot.axes[0].label, "hours of training");
        expect([0, 20, 30].map((place) => loss.plot.data[0][place] * 3600), [0, 400, 500]);
        set("curve-x", "step");
        set("curve-log-x", true);
        expect([loss.plot.scales.x.distr, Math.min(...loss.plot.data[0])], [3, 1]);  // step 0 has no place there
        set("curve-log-x", false);
        set("curve-log-y", true);
        expect([loss.plot.scales.y.distr, loss.note.textContent], [3, ""]);
        expect(charts[3].plot.scales.y.distr, 1);
        expect(charts[3].note.textContent, "No value is above 0: the axis is linear.");
        set("curve-log-y", false);
        set("curve-smoothing", 0.5, "input");
        const [y1, y2] = loss.lines[0].points.map((point) => point[1]);
        expect(loss.series.map((series) => Boolean(series.faint)), [true, false, false]);  // not the held-out values
        const second = loss.plot.data[2].filter((value) => value != null)[1];
        expect(second.toFixed(9), ((0.25 * y1 + 0.5 * y2) / 0.75).toFixed(9));
        """
    )


def test_speed_and_memory_are_drawn_last_and_are_no_content(reader) -> None:
    """They stand in the panel of records; a column that nobody of us writes is not shown."""
    document = reader(
        """
        const titles = charts.slice(-3).map((chart) => chart.figure.querySelector("strong").textContent);
        expect(titles, ["Tokens/s", "MFU (%)", "Peak memory (GiB)"]);
        expect(charts.slice(-3).map((chart) => chart.lines[0].points[39][1]), [204.8, 12.5, 5]);
        expect(byId("throughput").closest("section").id, "records");
        """
    )
    assert "hostile" not in document and document.count("tokens_per_second") < 5


def test_time_of_the_mean_step_where_no_seconds_are_known(reader) -> None:
    reader(
        """
        document.getElementById("throughput").remove();
        takeThroughput();
        set("curve-x", "time");  // 5,400 s of 40 steps, as recorded
        expect([loss.plot.axes[0].label, Math.max(...loss.plot.data[0])], ["hours (of the mean step)", 1.5]);
        """
    )


def test_time_is_offered_where_it_is_recorded_and_is_no_content(place: Place, browser: Browser, tmp_path: Path) -> None:
    page = (place.folder / "reports/sft.html").read_text()
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r'<section id="records">.*?</section>', "", page, flags=re.DOTALL))
    shown = browser.look(
        bare,
        actions=OF_A_READER + 'expect([...byId("curve-x").options].map((one) => one.disabled), [false, false, true]);',
    )
    assert shown.console == []


def test_a_run_is_hidden_everywhere(reader) -> None:
    reader(
        """
        loss.legend.find((entry) => entry.line.name === "sft").toggle.click();
        for (const chart of charts.slice(0, 4)) { // sft alone has its speed and memory recorded
          const shown = chart.series.map((series, place) => [series.line.name, chart.plot.series[place + 1].show]);
          expect(shown.filter(([name]) => name === "sft").map(([, show]) => show), [false]);
          expect(chart.legend.find((entry) => entry.line.name === "sft").toggle.getAttribute("aria-pressed"), "false");
          expect(shown.some(([name, show]) => name === "pre" && show), true);
        }
        """,
        "index",
    )


def test_values_and_pictures_are_saved(reader) -> None:
    document = reader(
        """
        const saved = [];
        URL.createObjectURL = (blob) => { saved.push(blob); return "data:,"; };
        HTMLAnchorElement.prototype.click = function () { saved.push(this.download); };
        loss.saveValues();
        charts[3].saveValues();
        loss.savePicture();
        // the browser's time jumps over a wait, and blobs are read in real time: be busy until they are
        let read = false;
        const busy = (turns) => {
          for (let turn = 0; turn < 1e6; turn++) Math.random();
          if (turns && !read) setTimeout(busy, 1, turns - 1);
        };
        busy(4000);
        const files = async () => {
          while (saved.length < 6) await new Promise((next) => setTimeout(next, 10));
          const text = await saved[0].text(), bytes = new Uint8Array(await saved[4].arrayBuffer());
          const kept = { names: [saved[1], saved[5]], lines: text.split("\\n").slice(0, 2) };
          kept.held = text.includes("sft,held-out,40,1.4");
          kept.head = (await saved[2].text()).split("\\n")[0];
          kept.png = [...bytes.slice(1, 4)];
          kept.size = bytes.length > 5000;
          document.body.append(element("pre", { id: "saved" }, JSON.stringify(kept)));
          read = true;
        };
        files();
        """
    )
    saved = json.loads(re.search(r'<pre id="saved">(.*?)</pre>', document)[1].replace("&lt;", "<").replace("&gt;", ">"))
    assert saved["names"] == ["sft-loss.csv", "sft-loss.png"] and saved["held"] and saved["size"]
    assert saved["lines"][0] == "run,rows,step,loss" and saved["lines"][1].startswith("sft,training,1,")
    assert saved["head"] == "run,rows,step,<img src=x onerror=console.error(2)>" and bytes(saved["png"]) == b"PNG"
