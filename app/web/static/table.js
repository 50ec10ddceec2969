// The rows of one table, by the beginning of their keys; and one row by itself.

import { ask, element, fill, inAddress, number, repeat, setAddress } from "./common.js";
import { cell, digitsOf, fieldsOf, heading } from "./values.js";

const REFRESH_MS = 1_000;
/** Of each interval. */
const HISTORY_LIMIT = 50;

const at = (id) => document.getElementById(id);
const table = at("table").dataset.table;
const path = `/tables/${encodeURIComponent(table)}`;
let after = "";
let next = null;
let stopRows = () => {};
let stopHistory = () => {};
let opener = null;

const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** A row's lines: one for each of its bars, where it holds bars; the fields of its value first. */
function linesOf({ key, value, ...rest }) {
  if (!isRecord(value)) return [value === undefined ? rest : { value, ...rest }];
  const { bars, symbol, ...fields } = value;
  const own = symbol === undefined || symbol === key ? {} : { symbol };
  if (Array.isArray(bars) && bars.every(isRecord)) {
    return bars.map(({ symbol: _, interval, ...bar }) => ({
      ...own,
      interval,
      ...fields,
      ...bar,
      ...rest,
    }));
  }
  return [{ ...own, ...fields, ...(bars === undefined ? {} : { bars }), ...rest }];
}

function show() {
  stopRows();
  at("first").disabled = after === "";
  stopRows = repeat("rows", REFRESH_MS, async (signal) => {
    const parameters = { prefix: at("prefix").value, limit: at("limit").value, after };
    const answer = await ask(`${path}/rows`, parameters, signal);
    const { rows } = answer;
    next = answer.next;
    drawRows(rows);
    at("next").disabled = !next;
    const more = next ? ", and more" : "";
    const count = `${number(rows.length)} row${rows.length === 1 ? "" : "s"}${more}`;
    if (at("count").textContent !== count) at("count").textContent = count;
    at("empty").hidden = rows.length > 0;
    at("empty").textContent = at("prefix").value
      ? `No key begins with ${at("prefix").value}.`
      : "This table holds no rows.";
    return answer.missing;
  });
}

function columnsOf(records) {
  return fieldsOf(records).map((name) => ({ name, digits: digitsOf(name, records) }));
}

function headingsOf(columns, ...first) {
  const others = columns.map(({ name, digits }) =>
    element("th", { scope: "col", class: digits === null ? null : "number" }, heading(name)),
  );
  return element("tr", {}, ...first, ...others);
}

const cellsOf = (columns, record) =>
  columns.map(({ name, digits }) => cell(name, record[name], digits));

function drawRows(rows) {
  const lines = rows.flatMap((row) => linesOf(row).map((record) => ({ key: row.key, record })));
  const columns = columnsOf(lines.map(({ record }) => record));
  const first = element("th", { scope: "col" }, "key");
  fill(at("head"), lines.length ? [headingsOf(columns, first)] : []);
  const made = lines.map(({ key, record }) => {
    const button = element("button", { type: "button", class: "link", "data-row": key }, key);
    const cells = cellsOf(columns, record);
    const name = `${key} ${record.interval ?? ""}`;
    return element("tr", { "data-key": name }, element("th", { scope: "row" }, button), ...cells);
  });
  fill(at("rows"), made);
}

/** One row by itself: many lines as a table, a single one as its fields below each other. */
function drawRow(row) {
  const records = linesOf(row);
  const columns = columnsOf(records);
  if (records.length > 1) {
    fill(at("history-head"), [headingsOf(columns)]);
    fill(at("history-rows"), records.map((one) => element("tr", {}, ...cellsOf(columns, one))));
    return;
  }
  fill(at("history-head"), []);
  const fields = columns.map(({ name, digits }) => {
    const value = cell(name, records[0][name], digits);
    value.className = "wide";
    return element("tr", {}, element("th", { scope: "row" }, heading(name)), value);
  });
  fill(at("history-rows"), fields);
}

function showHistory(key) {
  stopHistory();
  setAddress({ prefix: at("prefix").value, row: key });
  at("history").hidden = false;
  at("history-title").textContent = `Row ${key}`;
  at("history-head").replaceChildren();
  at("history-rows").replaceChildren();
  const address = `${path}/rows/${encodeURIComponent(key)}`;
  stopHistory = repeat("row", REFRESH_MS, async (signal) => {
    const answer = await ask(address, { limit: HISTORY_LIMIT }, signal);
    drawRow(answer);
  });
}

at("rows").addEventListener("click", ({ target }) => {
  const key = target.dataset.row;
  if (key === undefined) return;
  opener = target;
  showHistory(key);
  at("history-title").focus();
});
at("close").addEventListener("click", () => {
  stopHistory();
  at("history").hidden = true;
  setAddress({ prefix: at("prefix").value });
  if (opener?.isConnected) opener.focus();
});
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  after = "";
  setAddress({ prefix: at("prefix").value });
  show();
});
at("limit").addEventListener("change", () => {
  after = "";
  show();
});
at("first").addEventListener("click", () => {
  after = "";
  show();
});
at("next").addEventListener("click", () => {
  after = next;
  show();
});

at("prefix").value = inAddress("prefix");
ask("/tables").then(
  ({ tables }) => {
    const entry = tables.find(({ name }) => name === table);
    at("help").textContent = entry ? [entry.agent, entry.kind, entry.help].join(" · ") : "";
  },
  // The rows' own question says what is wrong.
  (error) => console.info("no description of the table:", error.message),
);
show();
if (inAddress("row")) showHistory(inAddress("row"));
