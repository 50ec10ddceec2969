// The newest dead letters of an agent, or of the sinks, with their bytes.

import { ask, element, fill, inAddress, number, repeat, setAddress, time } from "./common.js";
import { clipped } from "./values.js";

const REFRESH_MS = 2_000;
const BYTES_SHOWN = 512;
const BYTES_A_LINE = 16;

const at = (id) => document.getElementById(id);
let stop = () => {};

/** As a hex dump: offset, bytes, characters. */
function dump(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const lines = [];
  for (let start = 0; start < Math.min(bytes.length, BYTES_SHOWN); start += BYTES_A_LINE) {
    const part = [...bytes.slice(start, start + BYTES_A_LINE)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = part.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "."));
    const place = start.toString(16).padStart(4, "0");
    lines.push(`${place}  ${hex.padEnd(BYTES_A_LINE * 3 - 1)}  ${text.join("")}`);
  }
  if (bytes.length > BYTES_SHOWN) lines.push("...");
  return lines.join("\n");
}

function value({ base64, text, bytes, cut }) {
  if (base64 === null) return element("span", { class: "muted" }, "null");
  const size = `${number(bytes)} bytes${cut ? ", the first of them" : ""}`;
  const shown = element("pre", {}, dump(base64));
  const details = element("details", {}, element("summary", {}, size), shown);
  return element("div", {}, element("code", { class: "clip" }, clipped(text)), details);
}

/** Why; of a record that a sink does not take, also which sink, and the topic that it is in. */
function reason({ reason: text, sink, source_topic: topic }) {
  const tag = element("span", { class: "tag", "data-tone": "warn" }, text);
  return sink ? element("div", {}, tag, ` ${sink}, ${topic}`) : tag;
}

/** Rows whose bytes are shown; they stay so when new letters come. */
function openKeys() {
  const open = [...at("rows").querySelectorAll("details[open]")];
  return new Set(open.map((details) => details.closest("tr").dataset.key));
}

function show() {
  stop();
  const agent = at("agent").value;
  setAddress({ agent });
  at("rows").replaceChildren();
  at("empty").hidden = true;
  if (!agent) return;
  stop = repeat("dead", REFRESH_MS, async (signal) => {
    const limit = at("limit").value;
    const answer = await ask(`/dead/${encodeURIComponent(agent)}`, { limit }, signal);
    const rows = answer.dead.map((letter) =>
      element(
        "tr",
        { "data-key": `${letter.partition} ${letter.offset}` },
        element("td", {}, time(letter.append_time_ms)),
        element("td", { class: "number" }, String(letter.source_partition)),
        element("td", { class: "number" }, String(letter.source_offset)),
        element("td", {}, reason(letter)),
        element("td", { class: "wide" }, value(letter)),
      ),
    );
    const open = openKeys();
    fill(at("rows"), rows);
    for (const row of at("rows").children) {
      row.querySelector("details")?.toggleAttribute("open", open.has(row.dataset.key));
    }
    at("empty").hidden = rows.length > 0;
    at("empty").textContent = "No dead letters: every record could be used.";
    return answer.missing;
  });
}

at("choice").addEventListener("change", show);

const stopAgents = repeat("agents", 5_000, async (signal) => {
  const { topics } = await ask("/dead", {}, signal);
  const agents = topics.map(({ agent }) => agent);
  const select = at("agent");
  const chosen = select.value || inAddress("agent");
  if (agents.length && agents.join() !== [...select.options].map(({ value: v }) => v).join()) {
    const options = agents.map((agent) => element("option", { value: agent }, agent));
    select.replaceChildren(...options);
    select.value = agents.includes(chosen) ? chosen : agents[0];
    show();
  }
  if (agents.length) stopAgents();
});
