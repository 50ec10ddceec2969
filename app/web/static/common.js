// What the pages share: questions to the API, asked again until they are answered; elements made
// of text; times and numbers. Data are only ever text nodes here, never markup.

const TIMEOUT_MS = 10_000;
const LONGEST_PAUSE_MS = 10_000;

/** An answer other than 2xx, or none at all (status 0). */
export class ApiError extends Error {
  constructor(status, message, retryAfterSeconds) {
    super(message);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Ask the API: `ask("/tables", {limit: 5})`; throws ApiError, or AbortError by the signal. */
export async function ask(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const limits = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
  let answer;
  try {
    answer = await fetch(`/api/v1${path}?${query}`, { signal: AbortSignal.any(limits) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "This worker does not answer");
  }
  let content;
  try {
    content = await answer.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(answer.status, `The answer cannot be read (HTTP ${answer.status})`);
  }
  if (!answer.ok) {
    const retry = Number(answer.headers.get("Retry-After"));
    throw new ApiError(answer.status, faultIn(content, answer.status), retry > 0 ? retry : undefined);
  }
  return content;
}

function faultIn(content, status) {
  const fault = content?.error?.message ?? content?.error ?? content?.detail;
  return typeof fault === "string" && fault ? fault : `HTTP ${status}`;
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function visible(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (!document.hidden || signal.aborted) {
        document.removeEventListener("visibilitychange", look);
        resolve();
      }
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
    look();
  });
}

const faults = new Map();
const gaps = new Map();

/**
 * Do `step(signal)` every so many milliseconds while the tab is seen. A failure is told in the
 * banner and tried again, later each time. `step` returns the partitions that an answer lacks.
 * Returns what stops it.
 */
export function repeat(name, everyMs, step) {
  const controller = new AbortController();
  const { signal } = controller;
  const stop = () => {
    controller.abort();
    faults.delete(name);
    gaps.delete(name);
  };
  (async () => {
    let wait = everyMs;
    while (!signal.aborted) {
      await visible(signal);
      if (signal.aborted) return;
      try {
        const missing = await step(signal);
        if (signal.aborted) return;
        wait = everyMs;
        gaps.set(name, missing ?? []);
        tell(name, null);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ApiError)) {
          tell(name, `This page has failed: ${error.message}.`);
          throw error;
        }
        const least = (error.retryAfterSeconds ?? 0) * 1000;
        wait = Math.min(LONGEST_PAUSE_MS, Math.max(500, least, wait * 2));
        // A question that is wrong stays wrong; it is asked again all the same, seldom: a table or
        // symbol that is not there yet may come.
        if (error.status >= 400 && error.status < 500) wait = LONGEST_PAUSE_MS;
        const again = `trying again in ${Math.ceil(wait / 1000)} s`;
        tell(name, `${error.message.replace(/[.\s]+$/, "")}; ${again}.`);
      }
      await pause(wait, signal);
    }
  })();
  return stop;
}

function unanswered({ agent, partition, owner }) {
  const where = partition === undefined || partition === null ? "" : ` partition ${partition}`;
  return `${agent ?? ""}${where} (owner ${owner ?? "unknown"}) does not answer`;
}

/** Set banner and status for one of the page's questions; null: it was answered. */
function tell(name, fault) {
  if (fault) faults.set(name, fault);
  else faults.delete(name);
  const lacking = new Set([...gaps.values()].flat().map(unanswered));
  const text = faults.size
    ? [...new Set(faults.values())].join(" ")
    : lacking.size
      ? `Not complete: ${[...lacking].join("; ")}. Trying again.`
      : "";
  const banner = document.getElementById("banner");
  // Only a change is read out.
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
  const [state, word] = faults.size
    ? ["fault", "Not live"]
    : lacking.size
      ? ["partial", "Not complete"]
      : ["live", "Live"];
  const status = document.getElementById("status");
  status.dataset.state = state;
  if (status.textContent !== word) status.textContent = word;
}

/** An element: `element("td", {class: "number"}, "12")`; children are nodes or text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) {
      made.setAttribute(key, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * Put rows into a table's body. Only cells that differ are replaced, so that focus and selection
 * stay; rows with the same `data-key` are the same row.
 */
export function fill(body, rows) {
  const kept = [...body.children];
  rows.forEach((row, place) => {
    const old = kept[place];
    if (!old) body.append(row);
    else if (old.dataset.key !== row.dataset.key || old.cells.length !== row.cells.length) {
      old.replaceWith(row);
    } else if (!old.isEqualNode(row)) {
      const cells = [...row.cells];
      [...old.cells].forEach((cell, column) => {
        if (!cell.isEqualNode(cells[column])) cell.replaceWith(cells[column]);
      });
      old.className = row.className;
    }
  });
  kept.slice(rows.length).forEach((row) => row.remove());
}

/** A row of column headings; names in `numbers` are set to the right. */
export function headings(names, numbers = new Set()) {
  return element(
    "tr",
    {},
    ...names.map((name) =>
      element("th", { scope: "col", class: numbers.has(name) ? "number" : null }, name),
    ),
  );
}

const pad = (number, digits = 2) => String(number).padStart(digits, "0");

/** `2026-11-21 12:09:32` of milliseconds, with milliseconds where there are some or asked for. */
export function utc(milliseconds, exact = milliseconds % 1000 !== 0) {
  const text = new Date(milliseconds).toISOString().replace("T", " ");
  return text.slice(0, exact ? 23 : 19);
}

/** `12:09:32` of milliseconds, UTC. */
export function utcClock(milliseconds) {
  return utc(milliseconds).slice(11);
}

/** A time in UTC whose title is the reader's own. */
export function time(milliseconds, exact = undefined) {
  if (milliseconds === null || milliseconds === undefined) return document.createTextNode("none");
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return document.createTextNode(String(milliseconds));
  const offset = -date.getTimezoneOffset();
  const zone = `UTC${offset < 0 ? "-" : "+"}${pad(Math.trunc(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  const local = `${date.toLocaleString()} (your time, ${zone})`;
  return element("time", { datetime: date.toISOString(), title: local }, utc(milliseconds, exact));
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const some = new Intl.NumberFormat("en-US", { maximumFractionDigits: 4 });

/** A count or an amount, with separators. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  return Number.isInteger(value) ? whole.format(value) : some.format(value);
}

/** A price: two digits at least, four below 10, eight below 0.1. */
export function price(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const most = size >= 10 ? 4 : size >= 0.1 ? 6 : 8;
  return value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: most });
}

/** Seconds as words: `0.4 s`, `3 min`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** The parameters in the page's address. */
export function inAddress(name) {
  return new URLSearchParams(location.search).get(name) ?? "";
}

/** Write parameters into the page's address, so that it can be shared. */
export function setAddress(parameters, replace = true) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value) query.set(name, value);
  const address = `${location.pathname}${query.size ? `?${query}` : ""}`;
  if (address === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
}
