// Values of any table as cells: what a table holds is the agent's affair, not the page's.

import { element, number, time } from "./common.js";

const LONGEST_TEXT = 400;
const MOST_DIGITS = 6;

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Names of all fields of some objects, in the order they are met; of a time only the `_ms`. */
export function fieldsOf(objects) {
  const names = new Set(objects.filter(isObject).flatMap(Object.keys));
  for (const name of [...names].filter((each) => each.endsWith("_ms"))) {
    const stem = name.slice(0, -3);
    for (const other of [stem, `${stem}_iso`, `${stem}_ns`]) names.delete(other);
  }
  return [...names];
}

/** A field's heading: `start_ms` is shown as a time. */
export function heading(name) {
  return name.replace(/_ms$/, "").replaceAll("_", " ");
}

/**
 * How to write a field's numbers so that they line up: digits behind the point, or null where the
 * field does not hold numbers alone.
 */
export function digitsOf(name, objects) {
  const values = objects.map((each) => each?.[name]).filter((value) => value != null);
  if (!values.length || name.endsWith("_ms")) return null;
  if (!values.every((value) => typeof value === "number")) return null;
  const digits = values.map((value) => (String(value).split(".")[1] ?? "").length);
  return Math.min(MOST_DIGITS, Math.max(...digits));
}

/** A value as a cell; `digits` of `digitsOf`. */
export function cell(name, value, digits) {
  const numeric = digits !== null;
  const content = numeric && value != null ? fixed(value, digits) : shown(name, value);
  return element("td", { class: numeric ? "number" : null }, content);
}

const fixed = (value, digits) =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function shown(name, value) {
  if (value === null || value === undefined) return element("span", { class: "muted" }, "–");
  if (name.endsWith("_ms") && typeof value === "number") return time(value);
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return clipped(value);
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) {
    return clipped(value.join(", "));
  }
  return element("code", {}, clipped(JSON.stringify(value)));
}

/** A long text's beginning, with its length as title. */
export function clipped(text) {
  if (text.length <= LONGEST_TEXT) return text;
  return element("span", { title: `${text.length} characters` }, `${text.slice(0, LONGEST_TEXT)}…`);
}
