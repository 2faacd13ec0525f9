/* Ask for the state every two seconds and show it. Whatever is shown is set as text: names and log lines are anybody's. */
"use strict";

const EVERY = 2000;
const HEIGHT = 180;
const CHARTS = [["loss", "held-out loss"], ["reward", "held-out reward"], ["MFU"], ["tokens/s"], ["memory"], ["rows/s"]];
/* Figures that share a chart; those that are in none are told as their last value. */
const UNITS = { MFU: ", %", memory: ", GiB" };
const DRAWN = new Set(CHARTS.flat());
const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(10).keys()].map((power) => digit * 10 ** power)).sort((one, other) => one - other);
/* Distances of marks on the axis of what is counted. */
const cards = new Map(); // stage → its card: it is changed, not made anew, so that what is marked or opened stays so

const byId = (id) => document.getElementById(id);
const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Return a new element with a class and children: elements, or strings as text. */
function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Set an element's text, if it is another one; hide it where there is none. */
function say(target, text) {
  if (target.textContent !== (text ?? "")) target.textContent = text ?? "";
  target.hidden = !text;
}

/** A number for an axis or a sentence, four digits of it. */
const short = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : Number(value.toPrecision(4)).toLocaleString("en"));
/** A figure in words: `lr 1.00e-4`, but `1,024 tokens/step`. */
const told = ([name, value]) => (name.includes("/") ? `${short(value)} ${name}` : `${name} ${short(value)}`);

/** A chart of figures that belong together, by what is counted. */
class Chart {
  constructor(names) {
    this.names = names;
    this.host = element("div", "");
    this.host.setAttribute("role", "img");
    this.figure = element("div", "chart", element("h4", "", ...names.flatMap((name, place) => [element("i", `line-${place}`), `${name}${UNITS[name] ?? ""}`])), this.host);
    new ResizeObserver(() => this.fit()).observe(this.host);
  }

  show(curves, counted) {
    const data = uPlot.join(this.names.map((name) => curves[name]));
    const ends = this.names.map((name) => `${name} ${short(curves[name][1].at(-1))} at ${counted} ${curves[name][0].at(-1)}`);
    this.host.setAttribute("aria-label", ends.join(", "));
    if (this.plot) this.plot.setData(data);
    else this.draw(data, counted);
  }

  draw(data, counted) {
    const axis = { stroke: styleOf("--quiet"), grid: { stroke: styleOf("--line"), width: 1 }, ticks: { stroke: styleOf("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const values = (_, splits) => splits.map((each) => (each === null ? "" : short(each)));
    this.plot = new uPlot({
      width: Math.max(this.host.clientWidth, 200), height: HEIGHT, legend: { show: false }, padding: [8, 12, 0, 0],
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: false }, y: { range: { min: { pad: 0.06 }, max: { pad: 0.06 } } } },
      axes: [{ ...axis, size: 40, label: counted, labelSize: 16, labelFont: axis.font, incrs: WHOLE, values }, { ...axis, size: 58, values }],
      series: [{}, ...this.names.map((_, place) => ({ stroke: styleOf(`--series-${place}`), width: 1.6, spanGaps: true, points: { size: 6 } }))],
    }, data, this.host);
  }

  fit() {
    this.plot?.setSize({ width: Math.max(this.host.clientWidth, 200), height: HEIGHT });
  }

  forget() { // colours are those of light or dark, which may have changed: the next look draws it anew
    this.plot?.destroy();
    this.plot = null;
  }
}

/** What is shown of a stage that runs. */
class Card {
  constructor(name) {
    this.charts = new Map();
    this.facts = element("p", "facts");
    this.bar = element("progress", "");
    this.bar.setAttribute("aria-label", `progress of ${name}`);
    this.grid = element("div", "charts");
    this.lines = element("pre", "lines");
    this.card = element("article", "stage", element("h3", "", name), this.bar, this.facts, this.grid, this.lines);
  }

  show(stage) {
    this.bar.hidden = !stage.progress;
    if (stage.progress) this.bar.value = stage.progress.share;
    const others = Object.entries(stage.figures).filter(([name]) => !DRAWN.has(name)).map(told);
    const firsts = [stage.progress?.text, stage.left].filter(Boolean).map((text) => element("strong", "", text));
    const facts = [...firsts, stage.since, stage.cost, ...others, stage.last_word].filter(Boolean);
    this.facts.replaceChildren(...facts.map((fact) => element("span", "", fact)));
    for (const [place, all] of CHARTS.entries()) {
      const names = all.filter((name) => stage.curves[name]);
      if (names.length) this.chart(place, names).show(stage.curves, stage.counted);
    }
    say(this.lines, stage.lines.join("\n"));
  }

  /** Return the chart of so many figures: another one once a figure joins, such as the first held-out loss. */
  chart(place, names) {
    const before = this.charts.get(place);
    if (before?.names.length === names.length) return before;
    const made = new Chart(names);
    if (before) before.figure.replaceWith(made.figure);
    else this.grid.append(made.figure);
    this.charts.set(place, made);
    return made;
  }
}

/** Show the stages that run: a card each, in the order in which they began. */
function showRunning(state) {
  say(byId("nothing-runs"), state.nothing_runs);
  const names = new Set([...state.running, ...state.jobs].map((stage) => stage.stage));
  for (const [name, card] of cards) {
    if (!names.has(name)) {
      card.card.remove();
      cards.delete(name);
    }
  }
  const ofJob = (job) => ({ ...job, progress: null, figures: {}, curves: {}, last_word: null, left: null,
    lines: [`${job.job}: its log comes back when it ends; until then it is in CloudWatch`] });
  for (const stage of [...state.running, ...state.jobs.map(ofJob)]) {
    if (!cards.has(stage.stage)) {
      cards.set(stage.stage, new Card(stage.stage));
      byId("stages").append(cards.get(stage.stage).card);
    }
    cards.get(stage.stage).show(stage);
  }
}

let failuresShown = "";
function showFailures({ rows, all }) {
  byId("failed").hidden = !all;
  const key = JSON.stringify(rows);
  if (key === failuresShown) return; // so that an opened log stays open
  failuresShown = key;
  byId("failures").replaceChildren(...rows.map((row) => element("article", "failure",
    element("h3", "", row.stage), element("p", "", row.sentence), element("details", "", element("summary", "", `${row.log}, ${row.ended}`), element("pre", "lines", row.lines.join("\n"))))));
  say(byId("more-failed"), all > rows.length ? `and ${all - rows.length} more` : "");
}

let waitingShown = "";
function showWaiting({ rows, all }) {
  byId("waiting").hidden = !all;
  const key = JSON.stringify(rows);
  if (key === waitingShown) return;
  waitingShown = key;
  byId("plan-rows").replaceChildren(...rows.map((row) => {
    const heading = element("th", "", row.stage);
    heading.scope = "row";
    return element("tr", "", heading, element("td", "", row.action), element("td", "", row.why));
  }));
  say(byId("more-waiting"), all > rows.length ? `and ${all - rows.length} more` : "");
}

function show(state) {
  byId("clone").textContent = state.clone;
  const only = state.running.length === 1 && state.running[0].progress ? `${Math.floor(100 * state.running[0].progress.share)} % · ` : "";
  document.title = `${only}${state.clone} · Heirloom`;
  say(byId("now"), `as of ${state.time}`);
  say(byId("billed"), state.billed && `Billed by SageMaker, as recorded here: ${state.billed}`);
  showRunning(state);
  showFailures(state.failed);
  showWaiting(state.waiting);
  say(byId("plan-problem"), state.plan);
}

async function look() {
  try {
    const answer = await fetch("state.json", { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    show(await answer.json());
    say(byId("problem"), "");
  } catch (error) {
    const closed = error instanceof TypeError; // fetch's own, when nobody answers
    say(byId("problem"), closed ? "The page is not up to date: make watch has ended, or cannot be reached." : error.message);
  }
  setTimeout(look, EVERY);
}

const charts = () => [...cards.values()].flatMap((card) => [...card.charts.values()]);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts().forEach((chart) => chart.forget()));
look();
