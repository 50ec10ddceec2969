// All tables of all agents.

import { ask, element, fill, number, repeat } from "./common.js";

const KINDS = { state: "state", view: "view" };

repeat("tables", 2_000, async (signal) => {
  const answer = await ask("/tables", {}, signal);
  const rows = answer.tables.map((table) => {
    const href = `/tables/${encodeURIComponent(table.name)}`;
    return element(
      "tr",
      { "data-key": table.name },
      element("th", { scope: "row" }, element("a", { href }, table.name)),
      element("td", {}, table.agent),
      element("td", {}, element("span", { class: "tag" }, KINDS[table.kind] ?? String(table.kind))),
      element("td", { class: "number" }, number(table.partitions)),
      element("td", { class: "number" }, number(table.rows)),
      element("td", { class: "wide" }, table.help ?? ""),
    );
  });
  fill(document.getElementById("rows"), rows);
  return answer.missing;
});
