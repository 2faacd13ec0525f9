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

/* ---- scores of two groups of runs, config of two runs ---- */

/** Return how many prompts there are, each counted once however many samples answer it. */
function distinct(prompts) {
  return new Set(prompts.map((prompt) => JSON.stringify([prompt.dataset, prompt.row_id, prompt.prompt]))).size;
}

function addComparison() {
  const first = byId("compare-first"), second = byId("compare-second");
  if (!first) return;
  content.groups.forEach((group, position) => {
    for (const select of [first, second]) select.append(element("option", { value: position }, group.runs.join(", ")));
  });
  const last = content.comparisons[content.comparisons.length - 1];
  first.value = last.first;
  second.value = last.second;
  const show = () => {
    const pair = [Number(first.value), Number(second.value)].sort((one, other) => one - other);
    first.value = pair[0];
    second.value = pair[1]; // a base comes before what starts from it
    const found = content.comparisons.find((each) => each.first === pair[0] && each.second === pair[1]);
    const rows = (found ? found.rows : []).map((row) => element("tr", {},
      element("th", {}, row.name), element("td", {}, short(row.first)), element("td", {}, short(row.second)),
      element("td", {}, short(row.difference), row.interval ? element("small", {}, ` ${short(row.interval[0])} to ${short(row.interval[1])}`) : null,
        element("br"), element("span", { class: `verdict ${row.verdict.replaceAll(" ", "-")}` }, row.verdict),
        row.one_seed && row.interval ? element("small", {}, " (one seed)") : null)));
    const why = found || content.all_compared ? "These two share no score."
      : "These two are not compared: on a page of so many runs each is compared with those that it stands on and with the best of each score.";
    const none = element("tr", {}, element("td", { colspan: 4 }, why));
    document.querySelector("#comparison tbody").replaceChildren(...(rows.length ? rows : [none]));
  };
  for (const select of [first, second]) select.addEventListener("change", show);
  show();
}

function addRunFilter() {
  const input = byId("run-filter");
  if (!input) return;
  input.addEventListener("input", () => {
    for (const row of document.querySelectorAll("#run-table tbody tr")) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(input.value.trim().toLowerCase());
    }
  });
}

function addConfig() {
  const first = byId("config-first"), second = byId("config-second"), names = Object.keys(content.configs);
  const written = (value) => (value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value));
  first.append(...names.map((name) => element("option", {}, name)));
  second.append(element("option", { value: "" }, "nothing"), ...names.map((name) => element("option", {}, name)));
  first.value = content.subject ?? names[names.length - 1];
  const base = content.configs[first.value].base;
  second.value = names.includes(base) ? base : "";
  const show = () => {
    const one = content.configs[first.value], two = content.configs[second.value];
    const keys = [...new Set([...Object.keys(one), ...Object.keys(two ?? {})])];
    const rows = keys.map((key) => ({ key, values: (two ? [two, one] : [one]).map((config) => written(config[key])) }))
      .map((row) => ({ ...row, equal: two !== undefined && row.values[0] === row.values[1] }))
      .filter((row) => !row.equal || byId("config-equal").checked);
    document.querySelector("#config-table thead").replaceChildren(element("tr", {}, element("th", {}, "key"),
      ...(two ? [second.value, first.value] : [first.value]).map((name) => element("th", {}, name))));
    document.querySelector("#config-table tbody").replaceChildren(...(rows.length ? rows.map((row) =>
      element("tr", { class: row.equal ? "equal" : "" }, element("th", {}, row.key), ...row.values.map((value) => element("td", {}, value))))
      : [element("tr", {}, element("td", { colspan: 3 }, "They do not differ."))]));
  };
  for (const control of [first, second, byId("config-equal")]) control.addEventListener("change", show);
  show();
}

addCurves();
addGenerations();
addComparison();
addRunFilter();
addConfig();
