// Parts of the Set up view: a section with a button, and a table.

import { h } from "./dom.js";

export const section = (title, button, ...content) => h("section", { class: "section" }, h("div", { class: "head" }, h("h2", {}, title), button && h("div", { class: "actions" }, button)), ...content);

/** A table whose cells are stacked on a phone. */
export function table(label, columns, rows) {
  return h("div", { class: "card table-card" }, h("table", { class: "stacks", "aria-label": label },
    h("thead", {}, h("tr", {}, columns.map((one) => h("th", { scope: "col" }, one || h("span", { class: "unseen" }, "Actions"))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one, at) => h("td", { "data-label": at && columns[at] ? columns[at] : null }, one)))))));
}
