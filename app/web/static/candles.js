// The candle page: a symbol's bars, live. The address holds symbol, kind and interval.

import { Bars, intervalMs } from "./bars.js";
import { Chart } from "./chart.js";
import { ask, element, fill, headings, inAddress, number, price, repeat, setAddress, time } from "./common.js";

const LIVE_MS = 250;
const SYMBOLS_MS = 5_000;
const SYMBOLS_SHOWN = 200;
const BARS_SHOWN = 1_000;
const ROWS_SHOWN = 15;
/** Each so manieth question is for everything: older bars may have been revised. */
const EVERYTHING_EACH = 12;
const KINDS = { trades: "Trades", quotes: "Quotes" };

const at = (id) => document.getElementById(id);
const container = at("chart");
const chart = container && globalThis.LightweightCharts ? new Chart(container, hover) : null;
if (container && !chart) {
  at("empty").textContent = "The chart library could not be loaded; the newest bars are below.";
  at("empty").hidden = false;
}

const choice = {
  symbol: inAddress("symbol"),
  kind: inAddress("kind") || "trades",
  interval: inAddress("interval"),
};
let symbols = [];
/** What has been told of symbols, also of those that the list does not show now. */
const known = new Map();
let bars = new Bars(BARS_SHOWN);
let questions = 0;
let hovered = null;
let stopBars = () => {};
let stopSymbols = () => {};

// For tests, and for a look from the console.
globalThis.candlewick = {
  current: null,
  drawn: () => chart?.drawn() ?? [],
  bars: () => bars.list(),
};

// --- symbols -----------------------------------------------------------------------------------

function watchSymbols() {
  stopSymbols();
  stopSymbols = repeat("symbols", SYMBOLS_MS, async (signal) => {
    const prefix = at("prefix").value.trim();
    const answer = await ask("/symbols", { prefix, limit: SYMBOLS_SHOWN }, signal);
    symbols = answer.symbols;
    if (!choice.symbol && symbols.length) choose({ symbol: symbols[0].symbol });
    const { symbol: wanted } = choice;
    if (wanted && !symbols.some(({ symbol }) => symbol === wanted)) {
      const other = await ask("/symbols", { prefix: wanted, limit: 1 }, signal);
      other.symbols.forEach((entry) => known.set(entry.symbol, entry));
    }
    symbols.forEach((entry) => known.set(entry.symbol, entry));
    showSymbols(prefix);
    showChoice();
    return answer.missing;
  });
}

function showSymbols(prefix) {
  const list = at("symbols");
  const focused = document.activeElement?.dataset?.symbol;
  list.replaceChildren(
    ...symbols.map(({ symbol }) => {
      const current = symbol === choice.symbol ? "true" : null;
      const href = `?${new URLSearchParams({ symbol })}`;
      const link = element("a", { href, "data-symbol": symbol, "aria-current": current }, symbol);
      return element("li", {}, link);
    }),
  );
  if (focused) list.querySelector(`[data-symbol="${CSS.escape(focused)}"]`)?.focus();
  const note = at("symbols-note");
  note.hidden = symbols.length > 0 && symbols.length < SYMBOLS_SHOWN;
  note.textContent = symbols.length
    ? `The first ${SYMBOLS_SHOWN}; type to find others.`
    : prefix
      ? `No symbol begins with ${prefix}.`
      : "No symbols yet: no bar has been made.";
}

at("symbols").addEventListener("click", (event) => {
  const symbol = event.target.dataset.symbol;
  if (!symbol || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose({ symbol });
  showSymbols(at("prefix").value.trim());
});
at("prefix").addEventListener("input", watchSymbols);
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = at("prefix").value.trim();
  const found = symbols.find((each) => each.symbol === wanted) ?? symbols[0];
  if (found && found.symbol.startsWith(wanted)) choose({ symbol: found.symbol });
});

// --- kind and interval -------------------------------------------------------------------------

function segments(fieldset, name, values, chosen, labels = {}) {
  const known = [...fieldset.querySelectorAll("input")].map((input) => input.value);
  if (known.join() !== values.join()) {
    fieldset.querySelectorAll("label").forEach((label) => label.remove());
    for (const value of values) {
      const input = element("input", { type: "radio", name, value });
      fieldset.append(element("label", {}, input, element("span", {}, labels[value] ?? value)));
    }
  }
  for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === chosen;
}

function showChoice() {
  const entry = known.get(choice.symbol);
  if (!entry) return;
  const intervals = [...entry.intervals].sort((one, other) => intervalMs(one) - intervalMs(other));
  const kinds = Object.keys(KINDS).filter((kind) => entry.kinds.includes(kind));
  const change = {};
  if (kinds.length && !kinds.includes(choice.kind)) change.kind = kinds[0];
  if (!intervals.includes(choice.interval)) change.interval = intervals[0];
  if (Object.keys(change).length) choose(change);
  segments(at("intervals"), "interval", intervals, choice.interval);
  segments(at("kinds"), "kind", kinds, choice.kind, KINDS);
  at("intervals").hidden = intervals.length === 0;
  at("kinds").hidden = kinds.length < 2;
}

at("choice").addEventListener("change", ({ target }) => choose({ [target.name]: target.value }));

function choose(change, push = true) {
  const first = !choice.symbol || !choice.interval;
  Object.assign(choice, change);
  setAddress(choice, first || !push);
  show();
  showChoice();
}

addEventListener("popstate", () => {
  const found = { symbol: inAddress("symbol"), interval: inAddress("interval") };
  choose({ ...found, kind: inAddress("kind") || "trades" }, false);
  showSymbols(at("prefix").value.trim());
});

// --- bars --------------------------------------------------------------------------------------

function show() {
  stopBars();
  bars = new Bars(BARS_SHOWN);
  questions = 0;
  hovered = null;
  globalThis.candlewick.current = null;
  at("symbol").textContent = choice.symbol || "Candles";
  document.title = `${choice.symbol || "Candles"} - Candlewick`;
  for (const id of ["last", "change", "legend", "recent-rows"]) at(id).replaceChildren();
  chart?.draw([], false, false);
  if (!choice.symbol || !choice.interval) return;
  stopBars = repeat("bars", LIVE_MS, async (signal) => {
    const everything = questions % EVERYTHING_EACH === 0;
    const { symbol, kind, interval } = choice;
    const since_ms = everything ? undefined : bars.since();
    const parameters = { kind, interval, limit: BARS_SHOWN, since_ms };
    const answer = await ask(`/candles/${encodeURIComponent(symbol)}`, parameters, signal);
    const first = questions === 0 || bars.starts.length === 0;
    questions += 1;
    const { changed, anew } = bars.merge(answer);
    if (changed.length || anew || first) draw(changed, anew || first, first);
    return answer.missing;
  });
}

function draw(changed, anew, first) {
  const newest = bars.newest;
  const exact = intervalMs(choice.interval) < 1000;
  if (anew || changed.length > 20) chart?.draw(bars.list(), first && newest !== undefined, exact);
  else {
    let drawn = chart?.drawn().at(-1)?.time * 1000 || -Infinity;
    for (const bar of changed) {
      chart?.update(bar, drawn);
      drawn = Math.max(drawn, bar.start_ms);
    }
  }
  if (chart || !container) {
    const words = `No bars of ${choice.symbol} with the interval ${choice.interval} yet.`;
    at("empty").textContent = newest ? "" : words;
    at("empty").hidden = newest !== undefined;
  }
  showLast();
  showLegend();
  showRecent();
  globalThis.candlewick.current = {
    ...choice,
    count: bars.starts.length,
    last: newest ?? null,
    final: bars.newestFinal ?? null,
  };
}

function showLast() {
  const newest = bars.newest;
  if (!newest) return;
  at("last").textContent = price(newest.close);
  const before = bars.at(bars.starts.at(-2));
  if (!before) return;
  const difference = newest.close - before.close;
  const percent = before.close ? ` (${signed((difference / before.close) * 100, 2)} %)` : "";
  const shown = at("change");
  shown.textContent = `${signed(difference, 4)}${percent}`;
  shown.title = "against the close of the bar before";
  shown.dataset.way = difference < 0 ? "down" : difference > 0 ? "up" : "flat";
}

function signed(value, most) {
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: most };
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toLocaleString("en-US", digits)}`;
}

function hover(startMs) {
  hovered = startMs;
  showLegend();
}

const state = (bar) =>
  bar.is_final ? (bar.revision ? `final, revision ${bar.revision}` : "final") : "forming";

function amounts(bar) {
  if (choice.kind === "quotes") {
    return [
      ["Bid", price(bar.bid_close), "accent"],
      ["Ask", price(bar.ask_close), "second"],
      ["Spread", price(bar.spread)],
      ["Quotes", number(bar.quotes)],
    ];
  }
  return [
    ["Volume", number(bar.volume)],
    ["VWAP", price(bar.vwap), "accent"],
    ["Trades", number(bar.trades)],
  ];
}

function showLegend() {
  const bar = (hovered !== null && bars.at(hovered)) || bars.newest;
  if (!bar) return;
  const way = bar.close < bar.open ? "down" : "up";
  const entries = [
    ["Start", time(bar.start_ms)],
    ["Open", price(bar.open), way],
    ["High", price(bar.high), way],
    ["Low", price(bar.low), way],
    ["Close", price(bar.close), way],
    ...amounts(bar),
    ["State", state(bar)],
  ];
  at("legend").replaceChildren(
    ...entries.map(([name, value, tone]) =>
      element("div", {}, element("dt", {}, name), element("dd", { "data-tone": tone }, value)),
    ),
  );
}

function showRecent() {
  const names = bars.newest ? amounts(bars.newest).map(([name]) => name) : [];
  const columns = ["Start (UTC)", "Open", "High", "Low", "Close", ...names, "State"];
  fill(at("recent-head"), [headings(columns, new Set(columns.slice(1, -1)))]);
  const rows = bars.starts.slice(-ROWS_SHOWN).reverse().map((start) => {
    const bar = bars.at(start);
    const prices = [bar.open, bar.high, bar.low, bar.close].map(price);
    const values = [...prices, ...amounts(bar).map(([, value]) => value)];
    return element(
      "tr",
      { "data-key": start },
      element("td", {}, time(start)),
      ...values.map((value) => element("td", { class: "number" }, value)),
      element("td", {}, state(bar)),
    );
  });
  fill(at("recent-rows"), rows);
}

addEventListener("themechange", () => {
  chart?.paint(container);
  chart?.draw(bars.list(), false, intervalMs(choice.interval) < 1000);
});

show();
watchSymbols();
