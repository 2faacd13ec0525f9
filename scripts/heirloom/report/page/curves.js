/* Curves: a chart for each quantity, held-out values over those of the training; all charts are moved and zoomed as
   one. uPlot draws them (page/uplot/). Text is only ever set as text, or drawn on a canvas. */

const FIRST = ["loss", "perplexity", "learning_rate", "grad_norm", "rewards_margins", "rewards_accuracies",
  "rewards_chosen", "rewards_rejected", "rewards", "reward", "completions_mean_length", "completions_finished", "kl",
  "entropy", "clip_ratio_region_mean"];
const LAST = ["tokens_per_second", "mfu_percent", "peak_memory_gib"];
const QUANTITIES = {
  loss: "Loss", learning_rate: "Learning rate", grad_norm: "Gradient norm", kl: "KL divergence",
  nll_loss: "Negative log-likelihood", mean_token_accuracy: "Token accuracy", rewards_margins: "Reward margin",
  rewards_accuracies: "Reward accuracy", rewards_chosen: "Reward, chosen", rewards_rejected: "Reward, rejected",
  logps_chosen: "Log-probability, chosen", logps_rejected: "Log-probability, rejected",
  logits_chosen: "Logits, chosen", logits_rejected: "Logits, rejected", log_odds_ratio: "Log odds ratio",
  log_odds_chosen: "Log odds, chosen", aux_loss: "Router's loss",
  completions_mean_length: "Length of answers (tokens)", completions_finished: "Share of finished answers",
  clip_ratio_region_mean: "Clipped share",
  tokens_per_second: "Tokens/s", mfu_percent: "MFU (%)", peak_memory_gib: "Peak memory (GiB)",
};
const HEIGHT = 220;
const HELD_OUT = "eval_";
const charts = [];
const chosen = { x: "step", logX: false, logY: false, smoothing: 0, hidden: new Set() };

const quantityOf = (column) => (column.startsWith(HELD_OUT) ? column.slice(HELD_OUT.length) : column);

/** Return a quantity's name for people. */
function titleOf(quantity) {
  const words = quantity.replaceAll("_", " ");
  return QUANTITIES[quantity] ?? words[0].toUpperCase() + words.slice(1);
}

/** Return the seconds of each run's training: of the panel of records, which is no part of the content. */
function secondsOfTrainings() {
  const rows = [...document.querySelectorAll("#records tr[data-seconds]")];
  return new Map(rows.map((row) => [row.dataset.stage, Number(row.dataset.seconds)]));
}

/** Give each run the speed and memory of its training: of the panel of records too. */
function takeThroughput() {
  const panel = byId("throughput"), measured = panel ? JSON.parse(panel.textContent) : {};
  for (const run of content.runs) {
    const { seconds, ...figures } = measured[run.name] ?? {};
    run.seconds = seconds?.length ? seconds : null;
    run.curves = { ...run.curves, ...figures };
  }
}

/** Return step → hours of training, as measured: between two points in proportion, after the last as before it. */
function hoursAt(points) {
  const known = [[0, 0], ...points.filter(([step]) => step > 0)];
  return (step) => {
    const next = known.findIndex((point) => point[0] >= step), place = Math.max(next < 0 ? known.length - 1 : next, 1);
    const [[before, since], [after, until]] = [known[place - 1], known[place]];
    return (since + (until - since) * (step - before) / (after - before)) / 3600;
  };
}

/** Return the ways to measure a run's course: {label, of(run) → step → x, or null where it is not known}. */
function measures() {
  const seconds = secondsOfTrainings();
  const inProportion = (run, total) => (run.steps && total ? (step) => step * total / run.steps : null);
  const hours = (run) => (run.seconds ? hoursAt(run.seconds) : inProportion(run, (seconds.get(`train-${run.name}`) ?? 0) / 3600));
  const measured = content.runs.every((run) => run.seconds || !hours(run));
  return {
    step: { label: "step", of: () => (step) => step },
    tokens: { label: "tokens (of the mean step)", of: (run) => inProportion(run, run.tokens) },
    time: { label: measured ? "hours of training" : "hours (of the mean step)", of: hours },
  };
}

/** Return a mean that forgets: w·before + (1 − w)·value, corrected for its beginning as Adam's is. */
function smoothed(values, weight) {
  let mean = 0, sum = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    mean = weight * mean + (1 - weight) * value;
    sum = weight * sum + (1 - weight);
    return mean / sum;
  });
}

/** Return the lines of a quantity: {name, run, points, colour, heldOut}. */
function linesOf(quantity) {
  const several = content.runs.length > 1;
  return content.runs.flatMap((run, position) => [quantity, HELD_OUT + quantity].filter((column) => run.curves[column]).map((column) => {
    const heldOut = column.startsWith(HELD_OUT), kind = heldOut ? "held-out" : "training";
    return { name: several ? `${run.name}${heldOut ? ", held-out" : ""}` : kind, run, heldOut, points: run.curves[column],
      colour: several ? position : Number(heldOut) };
  }));
}

const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = (line) => styleOf(`--series-${line.colour % 8}`);

/** Return what uPlot draws: data as it wants them, and its series. Few values are points, many a line. */
function drawnOf(lines, log) {
  const measure = measures()[chosen.x].of;
  const fits = ([x, y]) => (!chosen.logX || x > 0) && (!log || y > 0);
  const tables = [], series = [];
  for (const line of lines) {
    const scale = measure(line.run);
    const points = scale === null ? [] : line.points.filter(fits);
    const values = points.map((point) => point[1]), few = points.length < 3;
    const smooth = chosen.smoothing > 0 && !line.heldOut && !few;
    const at = points.map((point) => scale(point[0]));
    const look = { ...(few ? { paths: () => null } : {}), stroke: colourOf(line), width: line.heldOut ? 2 : 1.6, spanGaps: true, show: !chosen.hidden.has(line.name),
      dash: line.heldOut && !few ? [6, 4] : undefined, points: { show: few, size: 8, fill: colourOf(line) }, line };
    if (smooth) {
      tables.push([at, values]);
      series.push({ ...look, width: 1, alpha: 0.25, faint: true });
    }
    tables.push([at, smooth ? smoothed(values, chosen.smoothing) : values]);
    series.push(look);
  }
  const filled = tables.some(([at]) => at.length);
  return { data: filled ? uPlot.join(tables) : [[], ...tables.map(() => [])], series, filled };
}

/** Return the plugin's hook that marks the step whose state was kept. */
const keptMark = (lines) => (plot) => {
  const measure = measures()[chosen.x].of;
  for (const run of new Set(lines.map((line) => line.run))) {
    const scale = measure(run);
    if (run.kept === null || run.kept === undefined || scale === null) continue;
    const x = plot.valToPos(scale(run.kept), "x", true), { ctx, bbox } = plot;
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
    ctx.save();
    ctx.strokeStyle = styleOf("--quiet");
    ctx.setLineDash([2, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
};

/** A figure of one quantity. */
class Chart {
  constructor(quantity) {
    this.quantity = quantity;
    this.lines = linesOf(quantity);
    this.host = element("div", { class: "plot", role: "img", tabindex: 0, "aria-label": this.description() });
    this.host.addEventListener("keydown", (event) => this.step(event));
    this.readout = element("span", { class: "readout" });
    this.note = element("small", { class: "note" });
    const button = (text, title, action) => {
      const made = element("button", { type: "button", title: `${title} of ${titleOf(quantity)}`, "aria-label": `${text}: ${title} of ${titleOf(quantity)}` }, text);
      made.addEventListener("click", action);
      return made;
    };
    this.legend = this.lines.map((line) => {
      const value = element("output", {});
      const toggle = element("button", { type: "button", "aria-pressed": "true" }, element("i", { class: line.heldOut ? "dashed" : "", style: `--own: var(--series-${line.colour % 8})` }), line.name, value);
      toggle.addEventListener("click", () => hideOrShow(line.name));
      return { line, toggle, value };
    });
    this.figure = element("figure", { class: "chart", "data-quantity": quantity },
      element("figcaption", {}, element("strong", {}, titleOf(quantity)), this.readout,
        element("span", { class: "saves" }, button("CSV", "Save the values", () => this.saveValues()), button("PNG", "Save the picture", () => this.savePicture()))),
      this.host, element("div", { class: "legend" }, ...this.legend.map((entry) => entry.toggle)), this.note);
  }

  /** Return the course in words, for who cannot see it. */
  description() {
    const parts = this.lines.map((line) => {
      const first = line.points[0], last = line.points[line.points.length - 1];
      return `${line.name} ${short(first[1])} at step ${first[0]}${line.points.length > 1 ? `, ${short(last[1])} at step ${last[0]}` : ""}`;
    });
    return `${titleOf(this.quantity)}: ${parts.slice(0, 4).join("; ")}${parts.length > 4 ? `; and ${parts.length - 4} more` : ""}`;
  }

  draw() {
    const positive = this.lines.some((line) => line.points.some((point) => point[1] > 0));
    const log = chosen.logY && positive;
    const { data, series, filled } = drawnOf(this.lines, log);
    const left = this.lines.some((line) => line.points.some((point) => point[1] <= 0)) && chosen.logY;
    this.note.textContent = !filled ? `Not known by ${measures()[chosen.x].label.split(" ")[0]}.`
      : left ? (log ? "Values of 0 and below are left out." : "No value is above 0: the axis is linear.") : "";
    const axis = { stroke: styleOf("--quiet"), grid: { stroke: styleOf("--line"), width: 1 }, ticks: { stroke: styleOf("--line"), width: 1 },
      font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 18 };
    this.plot?.destroy();
    this.series = series;
    this.plot = new uPlot({
      width: Math.max(this.host.clientWidth, 200), height: HEIGHT, legend: { show: false }, padding: [8, 12, 0, 0],
      cursor: { sync: { key: "curves" }, drag: { x: true, y: false, setScale: false }, points: { size: 8 }, focus: { prox: 24 }, bind: { dblclick: () => () => zoom(null) } },
      scales: { x: { time: false, distr: chosen.logX ? 3 : 1 }, y: { distr: log ? 3 : 1, range: log ? undefined : { min: { pad: 0.06 }, max: { pad: 0.06 } } } },
      axes: [{ ...axis, label: measures()[chosen.x].label, size: 30, values: (_, splits) => splits.map((each) => (each === null ? "" : compact(each))) },
        { ...axis, label: titleOf(this.quantity).slice(0, 28), size: 62, values: (_, splits) => splits.map((each) => (each === null ? "" : compact(each))) }],
      series: [{}, ...series],
      hooks: { setSelect: [(plot) => select(plot)], setCursor: [(plot) => this.tell(plot)], draw: [keptMark(this.lines)] },
    }, data, this.host);
    this.plot.over.addEventListener("mousedown", () => { under = this.plot; });
  }

  /** Say the values at the cursor. */
  tell(plot) {
    const at = plot.cursor.idx;
    const known = at !== null && at !== undefined;
    this.readout.textContent = known ? `${measures()[chosen.x].label.split(" ")[0]} ${short(plot.data[0][at])}` : "";
    for (const { line, value } of this.legend) {
      const place = this.series.findIndex((each) => each.line === line && !each.faint);
      const found = known && place >= 0 ? plot.data[place + 1][at] : null;
      value.textContent = found === null || found === undefined ? "" : ` ${short(found)}`;
    }
  }

  /** Move to the next value by the arrow keys, as the pointer would. */
  step(event) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key], { plot } = this, steps = plot.data[0];
    if (!way || !steps.length) return;
    event.preventDefault();
    const at = Math.min(Math.max((plot.cursor.idx ?? (way > 0 ? -1 : steps.length)) + way, 0), steps.length - 1);
    for (const each of charts) each.plot.setCursor({ left: each.plot.valToPos(steps[at], "x"), top: HEIGHT / 3 }, true, false);
  }

  mark() {
    for (const { line, toggle } of this.legend) toggle.setAttribute("aria-pressed", String(!chosen.hidden.has(line.name)));
  }

  saveValues() {
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const safe = (text) => quoted(/^[=+\-@\t]/.test(text) ? `'${text}` : text); // a table program would take it for a formula
    const rows = this.lines.flatMap((line) => line.points.map(([step, value]) => [safe(line.run.name), line.heldOut ? "held-out" : "training", step, value].join(",")));
    save(new Blob([`run,rows,step,${safe(this.quantity)}\n${rows.join("\n")}\n`], { type: "text/csv" }), `${this.quantity}.csv`);
  }

  savePicture() {
    const plain = this.plot.ctx.canvas, ratio = plain.width / this.plot.width, line = 18 * ratio;
    const whole = document.createElement("canvas");
    whole.width = plain.width;
    whole.height = plain.height + line * (1.6 + this.lines.length);
    const ctx = whole.getContext("2d");
    ctx.fillStyle = styleOf("--page");
    ctx.fillRect(0, 0, whole.width, whole.height);
    ctx.font = `600 ${14 * ratio}px system-ui, sans-serif`;
    ctx.fillStyle = styleOf("--text");
    ctx.fillText(`${content.title}: ${titleOf(this.quantity)}`, 8 * ratio, line);
    ctx.drawImage(plain, 0, line * 1.4);
    ctx.font = `${12 * ratio}px system-ui, sans-serif`;
    this.lines.forEach((each, position) => {
      ctx.fillStyle = colourOf(each);
      ctx.fillText(`${each.heldOut ? "╌" : "━"} ${each.name}`, 8 * ratio, plain.height + line * (2 + position));
    });
    whole.toBlob((blob) => save(blob, `${this.quantity}.png`), "image/png");
  }
}

let under = null; // the chart in which the pointer was pressed: the others only follow it

/** Return a number for an axis, short. */
function compact(value) {
  const size = Math.abs(value);
  if (size >= 1e12 || (size > 0 && size < 1e-3)) return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
  for (const [unit, amount] of [["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (size >= amount) return `${Number((value / (unit === "k" ? 1e3 : amount)).toPrecision(3))}${unit}`;
  }
  return String(Number(value.toPrecision(4)));
}

/** Hand a file to the reader. */
function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: `${(content.subject ?? "all-runs")}-${name}`.replace(/[^\w.-]+/g, "_") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Zoom all charts to [low, high] of x, or to everything. */
function zoom(range) {
  const all = range ?? charts.reduce(([low, high], { plot }) => {
    const at = plot.data[0];
    return at.length ? [Math.min(low, at[0]), Math.max(high, at[at.length - 1])] : [low, high];
  }, [Infinity, -Infinity]);
  byId("zoom-out").disabled = range === null;
  if (all[0] < all[1]) for (const { plot } of charts) plot.setScale("x", { min: all[0], max: all[1] });
}

/** Take what was dragged over in a chart as the part to show. */
function select(plot) {
  if (plot !== under || plot.select.width < 4) return;
  under = null;
  const range = [plot.select.left, plot.select.left + plot.select.width].map((left) => plot.posToVal(left, "x"));
  for (const chart of charts) chart.plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  zoom(range);
}

function hideOrShow(name) {
  if (!chosen.hidden.delete(name)) chosen.hidden.add(name);
  for (const chart of charts) {
    chart.mark();
    chart.series.forEach((series, position) => {
      if (series.line.name === name) chart.plot.setSeries(position + 1, { show: !chosen.hidden.has(name) });
    });
  }
}

/** Show the curves of some runs alone; null: of all. */
function showOnlyRuns(names) {
  if (content.runs.length < 2) return;
  chosen.hidden = new Set(charts.flatMap((chart) => chart.lines).filter((line) => names !== null && !names.has(line.run.name)).map((line) => line.name));
  for (const chart of charts) {
    chart.mark();
    chart.series.forEach((series, position) => chart.plot.setSeries(position + 1, { show: !chosen.hidden.has(series.line.name) }));
  }
}

const drawAll = () => {
  for (const chart of charts) chart.draw();
  zoom(null);
};

function addCurves() {
  takeThroughput();
  const logged = [...new Set(content.runs.flatMap((run) => Object.keys(run.curves)).map(quantityOf))];
  const order = [...FIRST, null, ...LAST]; // null: whatever else was logged
  const beside = (quantity) => (/^rewards_.+_mean$/.test(quantity) ? "reward" : quantity); // parts stand by their sum
  const place = (quantity) => order.indexOf(order.includes(beside(quantity)) ? beside(quantity) : null);
  const ordered = logged.sort((one, other) => place(one) - place(other)); // sort is stable: others as they were logged
  if (!ordered.length) {
    byId("charts").append(element("p", {}, content.side_by_side ? "No training was logged." : "Curves of so many runs stand on each run's own page."));
    byId("curve-choices").hidden = true;
    return;
  }
  charts.push(...ordered.map((quantity) => new Chart(quantity)));
  byId("charts").append(...charts.map((chart) => chart.figure));
  const known = measures();
  for (const option of byId("curve-x").options) {
    option.disabled = !content.runs.some((run) => known[option.value].of(run) !== null);
  }
  const afresh = (id, event, take) => byId(id).addEventListener(event, () => {
    take(byId(id));
    drawAll();
  });
  afresh("curve-x", "change", (control) => { chosen.x = control.value; });
  afresh("curve-log-x", "change", (control) => { chosen.logX = control.checked; });
  afresh("curve-log-y", "change", (control) => { chosen.logY = control.checked; });
  afresh("curve-smoothing", "input", (control) => { chosen.smoothing = Number(control.value); });
  byId("zoom-out").addEventListener("click", () => zoom(null));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = 0;
  new ResizeObserver(() => {
    if (byId("charts").clientWidth === width) return;
    width = byId("charts").clientWidth;
    for (const chart of charts) chart.plot?.setSize({ width: Math.max(chart.host.clientWidth, 200), height: HEIGHT });
  }).observe(byId("charts"));
  drawAll();
}
