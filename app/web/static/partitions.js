// Who owns what, and how far it is.

import { ask, duration, element, fill, headings, number, repeat, time } from "./common.js";

const at = (id) => document.getElementById(id);
const NUMBERS = ["Lag", "Position", "Checkpoint age", "View behind"];

const whole = (partitions, name) =>
  partitions.reduce((sum, each) => sum + (each[name] ?? 0), 0);

function outcomes(partitions) {
  return [...new Set(partitions.flatMap(({ counts }) => Object.keys(counts ?? {})))];
}

function tiles(answered, silent) {
  const ready = answered.filter(({ phase }) => phase === "ready").length;
  const total = answered.length + silent.length;
  const ages = answered.map((each) => each.checkpoint_age_seconds).filter((age) => age != null);
  const dead = answered.reduce((sum, { counts }) => sum + (counts?.dead ?? 0), 0);
  const lag = number(whole(answered, "lag"));
  return [
    ["Ready", `${ready} of ${total}`, ready === total ? "fine" : "fault"],
    ["Not answering", number(silent.length), silent.length ? "fault" : "fine"],
    ["Lag", `${lag} records`, null],
    ["Oldest checkpoint", duration(ages.length ? Math.max(...ages) : null), null],
    ["Dead letters", number(dead), dead ? "warn" : null],
  ].map(([name, value, tone]) =>
    element("div", {}, element("dt", {}, name), element("dd", { "data-tone": tone }, value)),
  );
}

function state(entry, silent) {
  if (silent) return element("span", { class: "tag", "data-tone": "fault" }, "does not answer");
  const tone = entry.phase === "ready" ? "fine" : entry.phase === "failed" ? "fault" : "warn";
  const tag = element("span", { class: "tag", "data-tone": tone }, entry.phase ?? "unknown");
  return entry.reason ? element("span", {}, tag, ` ${entry.reason}`) : tag;
}

function row(entry, silent, names) {
  const count = (value) => element("td", { class: "number" }, silent ? "–" : value);
  return element(
    "tr",
    { "data-key": `${entry.agent} ${entry.partition}`, class: silent ? "silent" : null },
    element("th", { scope: "row" }, String(entry.agent)),
    element("td", { class: "number" }, String(entry.partition)),
    element("td", {}, entry.owner ?? "nobody"),
    element("td", {}, state(entry, silent)),
    count(number(entry.lag)),
    count(number(entry.position)),
    element("td", {}, silent ? "–" : time(entry.watermark_ms)),
    count(duration(entry.checkpoint_age_seconds)),
    count(number(entry.view_behind)),
    ...names.map((name) => count(number(entry.counts?.[name] ?? 0))),
  );
}

repeat("partitions", 1_000, async (signal) => {
  const { partitions, missing } = await ask("/partitions", {}, signal);
  const isSilent = ({ answered }) => answered === false;
  const key = ({ agent, partition }) => `${agent} ${partition}`;
  const listed = new Set(partitions.map(key));
  const silent = [
    ...partitions.filter(isSilent),
    ...missing.filter((each) => !listed.has(key(each))),
  ];
  const answered = partitions.filter((each) => !isSilent(each));
  const all = [...answered.map((each) => [each, false]), ...silent.map((each) => [each, true])];
  all.sort(([one], [other]) =>
    one.agent === other.agent ? one.partition - other.partition : one.agent < other.agent ? -1 : 1,
  );
  const names = outcomes(answered);
  const columns = ["Agent", "Partition", "Owner", "Phase", "Lag", "Position", "Watermark (UTC)"];
  columns.push("Checkpoint age", "View behind", ...names);
  const numbers = new Set(["Partition", ...NUMBERS, ...names]);
  fill(at("head"), [headings(columns, numbers)]);
  fill(at("rows"), all.map(([each, quiet]) => row(each, quiet, names)));
  at("tiles").replaceChildren(...tiles(answered, silent));
  return silent;
});
