/* The table of all runs: what differs between their configs, and their scores; sorted, filtered, two of them compared. */

const CONDITION = /^([^<>=]+)(>=|<=|>|<|=)(.+)$/;
const LINES = 100; // that are shown before the reader asks for more
const order = { column: null, falling: true };

const written = (value) => (value === undefined || value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value));
/** Return a config's value for the table: a number with six digits, small ones as 2e-5. */
function shown(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return written(value);
  const digits = Number(value.toPrecision(6));
  return Math.abs(digits) < 1e-3 ? digits.toExponential() : String(digits);
}

const meanOf = (cell) => (cell === null ? null : cell[0]);

/** Return the columns: {name, of(row) → what is sorted by, kind}. */
function columnsOfRuns() {
  const { keys, scores } = content.table;
  return [
    { name: "runs", kind: "name", of: (row) => row.runs.join(", ") },
    ...scores.map((name, place) => ({ name, kind: "score", of: (row) => meanOf(row.scores[place]), cell: (row) => row.scores[place] })),
    ...keys.map((name, place) => ({ name, kind: "key", of: (row) => row.values[place] })),
  ];
}

function scoreCell(score) {
  if (score === null) return element("td", {}, "–");
  const [mean, low, high, spread] = score;
  return element("td", {}, `${short(mean)} `, low === null ? null : element("small", {}, `${short(low)} to ${short(high)}`),
    ...(spread === null ? [] : [element("br"), element("small", {}, `spread ${short(spread)}`)]));
}

function nameCell(row) {
  const names = row.runs.flatMap((name, place) => [place ? ", " : null,
    row.linked.includes(name) ? element("a", { href: `${encodeURIComponent(name)}.html` }, name) : name]);
  return element("th", { scope: "row" }, ...names.filter((part) => part !== null), row.runs.length > 1 ? element("small", {}, ` ${row.runs.length} seeds`) : null);
}

/** Return whether a row fits a word: a part of a name or of a config's value, or `name>0.5` of a column. */
function fits(row, word, columns) {
  const condition = CONDITION.exec(word);
  const asked = condition && columns.filter((column) => column.name.toLowerCase() === condition[1] || column.name.toLowerCase().endsWith(`.${condition[1]}`));
  if (!asked?.length) return columns.some((column) => column.kind !== "score" && written(column.of(row)).toLowerCase().includes(word));
  const [, , operator, text] = condition, number = Number(text);
  return asked.some((column) => {
    const value = column.of(row);
    if (operator === "=") return written(value).toLowerCase() === text || (typeof value === "number" && value === number);
    if (typeof value !== "number" || Number.isNaN(number)) return false;
    return { ">": value > number, "<": value < number, ">=": value >= number, "<=": value <= number }[operator];
  });
}

/** Compare two values for sorting: numbers as numbers, others as texts, what is missing last whichever way. */
function compared(one, other, falling) {
  const missing = (value) => value === null || value === undefined;
  if (missing(one) || missing(other)) return Number(missing(one)) - Number(missing(other));
  const way = falling ? -1 : 1;
  if (typeof one === "number" && typeof other === "number") return way * (one - other);
  return way * written(one).localeCompare(written(other), undefined, { numeric: true });
}

function addRunTable() {
  const table = byId("run-table");
  if (!table) return;
  const columns = columnsOfRuns(), body = element("tbody");
  const rows = content.table.rows, lines = new Map();
  const cellOf = (row, column) => (column.kind === "name" ? nameCell(row) : column.kind === "score" ? scoreCell(column.cell(row))
    : element("td", { class: "key" }, shown(column.of(row))));
  const lineOf = (row) => {
    if (!lines.has(row)) {
      const line = element("tr", {}, ...columns.map((column) => cellOf(row, column)));
      [...line.cells].forEach((cell, place) => { if (place) cell.dataset.label = columns[place].name; });
      lines.set(row, line);
    }
    return lines.get(row);
  };
  let limit = LINES;
  const heads = columns.map((column) => {
    const button = element("button", { type: "button" }, column.name);
    const head = element("th", { scope: "col", "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      order.falling = order.column === column ? !order.falling : column.kind === "score";
      order.column = column;
      for (const each of heads) each.setAttribute("aria-sort", each === head ? (order.falling ? "descending" : "ascending") : "none");
      show();
    });
    return head;
  });
  const show = () => {
    const words = byId("run-filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const kept = rows.filter((row) => words.every((word) => fits(row, word, columns)));
    if (order.column) kept.sort((one, other) => compared(order.column.of(one), order.column.of(other), order.falling));
    body.replaceChildren(...kept.slice(0, limit).map(lineOf));
    byId("run-count").textContent = `${kept.length} of ${rows.length} lines`;
    byId("more-runs").hidden = kept.length <= limit;
    byId("more-runs").textContent = `Show all ${kept.length} lines`;
    return kept;
  };
  table.replaceChildren(element("thead", {}, element("tr", {}, ...heads)), body);
  byId("run-filter").addEventListener("input", () => {
    limit = LINES;
    const kept = show();
    showOnlyRuns(byId("run-filter").value.trim() ? new Set(kept.flatMap((row) => row.runs)) : null);
  });
  byId("more-runs").addEventListener("click", () => {
    limit = Infinity;
    show();
  });
  show();
}

function addComparison() {
  const first = byId("compare-first"), second = byId("compare-second");
  if (!first) return;
  const { rows: groups, scores } = content.table;
  groups.forEach((group, position) => {
    for (const select of [first, second]) select.append(element("option", { value: position }, group.runs.join(", ")));
  });
  [first.value, second.value] = content.comparisons[content.comparisons.length - 1];
  const show = () => {
    const pair = [Number(first.value), Number(second.value)].sort((one, other) => one - other);
    [first.value, second.value] = pair; // a base comes before what starts from it
    const found = content.comparisons.find(([one, other]) => one === pair[0] && other === pair[1]);
    const rows = (found ? found[2] : []).map(([place, difference, low, high, verdict, oneSeed]) => element("tr", {},
      element("th", { scope: "row" }, scores[place]), ...pair.map((position) => element("td", {}, short(groups[position].scores[place][0]))),
      element("td", {}, short(difference), low === null ? null : element("small", {}, ` ${short(low)} to ${short(high)}`),
        element("br"), element("span", { class: `verdict ${verdict.replaceAll(" ", "-")}` }, verdict),
        oneSeed && low !== null ? element("small", {}, " (one seed)") : null)));
    const why = found || content.all_compared ? "These two share no score."
      : "These two are not compared: on a page of so many runs each is compared with those that it stands on and with the best of each score.";
    const none = element("tr", {}, element("td", { colspan: 4 }, why));
    document.querySelector("#comparison tbody").replaceChildren(...(rows.length ? rows : [none]));
    labelCells(byId("comparison"));
  };
  for (const select of [first, second]) select.addEventListener("change", show);
  show();
}
