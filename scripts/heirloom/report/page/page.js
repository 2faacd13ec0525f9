/* Draws what is chosen on the page: generations, comparisons, config. Text is only ever set as text. */

const content = JSON.parse(document.getElementById("content").textContent);
const byId = (id) => document.getElementById(id);

/** Return a new element with attributes and children; strings become text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Return a number with four significant digits, or a dash. */
function short(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/* ---- generations ---- */

const BATCH = 20;

/** Return the text as nodes in which every occurrence of `wanted` is marked. */
function marked(text, wanted) {
  if (!wanted) return [text];
  const nodes = [], lower = text.toLowerCase();
  let start = 0;
  if (lower.length !== text.length) return [text]; // letters that change their length; then nothing is marked
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, start)) {
    nodes.push(text.slice(start, at), element("mark", {}, text.slice(at, at + wanted.length)));
    start = at + wanted.length;
  }
  return [...nodes, text.slice(start)];
}

const isReference = (prompt, answer) => prompt.reference !== null && answer.completion.trim() === String(prompt.reference).trim();

/** Return the box of one prompt with its answers. */
function promptBox(prompt, runs, wanted) {
  const where = [prompt.dataset, prompt.row_id, prompt.sample ? `sample ${prompt.sample}` : null];
  const answers = runs.filter((run) => prompt.answers[run]).map((run) => {
    const answer = prompt.answers[run];
    const facts = [run, answer.finish_reason, answer.completion_tokens === undefined ? null : `${answer.completion_tokens} tokens`,
      answer.logprob === undefined ? null : `log-probability ${short(answer.logprob)}`];
    return element("div", { class: isReference(prompt, answer) ? "right" : "" },
      element("h3", {}, facts.filter((fact) => fact !== null && fact !== undefined).join(" · ")), element("pre", {}, ...marked(answer.completion, wanted)));
  });
  if (prompt.reference !== null) {
    answers.unshift(element("div", { class: "reference" }, element("h3", {}, "reference"), element("pre", {}, ...marked(String(prompt.reference), wanted))));
  }
  return element("article", { class: "prompt" },
    element("h3", {}, where.filter((part) => part !== null && part !== undefined).join(" · ")),
    element("pre", {}, ...marked(prompt.prompt, wanted)), element("div", { class: "answers" }, ...answers));
}

function addGenerations() {
  if (!content.prompts.length) return;
  const boxes = content.answering.length < 2 ? [] : content.answering.map((run) => element("input", { type: "checkbox", value: run, checked: "" }));
  byId("shown-runs").append(...boxes.map((box) => element("label", {}, box, ` ${box.value} `)));
  let limit = BATCH;
  const show = () => {
    const wanted = byId("search").value.trim().toLowerCase();
    const agreement = byId("agreement").value, finish = byId("finish").value;
    const runs = boxes.length ? boxes.filter((box) => box.checked).map((box) => box.value) : content.answering;
    const fitting = content.prompts.filter((prompt) => {
      const answers = runs.map((run) => prompt.answers[run]).filter(Boolean);
      const texts = answers.map((answer) => answer.completion);
      if (!answers.length) return false;
      if (wanted && ![prompt.prompt, prompt.reference ?? "", ...texts].some((text) => String(text).toLowerCase().includes(wanted))) return false;
      if (finish && !answers.some((answer) => answer.finish_reason === finish)) return false;
      if (agreement === "differ") return new Set(texts.map((text) => text.trim())).size > 1;
      if (agreement === "right") return answers.some((answer) => isReference(prompt, answer));
      if (agreement === "wrong") return answers.some((answer) => !isReference(prompt, answer));
      return true;
    });
    const held = distinct(content.prompts) < content.prompts_in_all ? ` (the page holds ${distinct(content.prompts)} of ${content.prompts_in_all})` : "";
    byId("count").textContent = `${distinct(fitting)} of ${distinct(content.prompts)} prompts${held}`;
    byId("prompts").replaceChildren(...fitting.slice(0, limit).map((prompt) => promptBox(prompt, runs, wanted)));
    byId("more").hidden = fitting.length <= limit;
  };
  const afresh = () => {
    limit = BATCH;
    show();
  };
  for (const control of [byId("agreement"), byId("finish"), ...boxes]) control.addEventListener("change", afresh);
  byId("search").addEventListener("input", afresh);
  byId("more").addEventListener("click", () => {
    limit += BATCH;
    show();
  });
  show();
}

/* ---- config of two runs ---- */

/** Return how many prompts there are, each counted once however many samples answer it. */
function distinct(prompts) {
  return new Set(prompts.map((prompt) => JSON.stringify([prompt.dataset, prompt.row_id, prompt.prompt]))).size;
}

function addConfig() {
  const first = byId("config-first"), second = byId("config-second"), { common, own } = content.configs, names = Object.keys(own);
  const whole = (name) => (name in own ? { ...common, ...own[name] } : undefined);
  first.append(...names.map((name) => element("option", {}, name)));
  second.append(element("option", { value: "" }, "nothing"), ...names.map((name) => element("option", {}, name)));
  first.value = content.subject ?? names[names.length - 1];
  const base = whole(first.value).base;
  second.value = names.includes(base) ? base : "";
  const show = () => {
    const one = whole(first.value), two = whole(second.value);
    const keys = [...new Set([...Object.keys(one), ...Object.keys(two ?? {})])];
    const rows = keys.map((key) => ({ key, values: (two ? [two, one] : [one]).map((config) => written(config[key])) }))
      .map((row) => ({ ...row, equal: two !== undefined && row.values[0] === row.values[1] }))
      .filter((row) => !row.equal || byId("config-equal").checked);
    document.querySelector("#config-table thead").replaceChildren(element("tr", {}, element("th", {}, "key"),
      ...(two ? [second.value, first.value] : [first.value]).map((name) => element("th", {}, name))));
    document.querySelector("#config-table tbody").replaceChildren(...(rows.length ? rows.map((row) =>
      element("tr", { class: row.equal ? "equal" : "" }, element("th", {}, row.key), ...row.values.map((value) => element("td", {}, value))))
      : [element("tr", {}, element("td", { colspan: 3 }, "They do not differ."))]));
    labelCells(byId("config-table"));
  };
  for (const control of [first, second, byId("config-equal")]) control.addEventListener("change", show);
  show();
}

/** Give each cell its column's name: where a screen is narrow, rows are cards (page.css). */
function labelCells(table) {
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const body of table.tBodies) for (const row of body.rows) {
    [...row.cells].forEach((cell, place) => { if (place && cell.colSpan === 1) cell.dataset.label = names[place]; });
  }
}

addCurves();
addGenerations();
addRunTable();
addComparison();
addConfig();
for (const table of document.querySelectorAll("table:not(#run-table)")) labelCells(table);
