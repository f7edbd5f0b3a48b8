// Alerts: who triggers one, when, and where it is sent.

import { post, remove } from "./api.js";
import { h, ask, field } from "./dom.js";
import { section, table } from "./sections.js";

const WHO = { anybody: "Anyone", unknown: "Unknown people" };
const AGAIN = { "1m": "minute", "10m": "10 minutes", "1h": "hour", "1d": "day" };
const TO = { webhook: "Webhook", mqtt: "MQTT broker", command: "Program" };

export function alertSection(page, answer, cameras, names) {
  if (answer instanceof Error) return section("Alerts", null, h("p", { class: "error" }, answer.message));
  return section("Alerts", h("button", { type: "button", class: "primary", onclick: () => addDialog(page, answer, cameras.cameras ?? [], names) }, "Add an alert"), alertList(page, answer));
}

function alertList(page, { alerts }) {
  if (!alerts.length) return h("p", { class: "faint" }, "None. An alert is sent as soon as someone is seen: to a webhook, such as Home Assistant's, or over MQTT.");
  return table("Alerts", ["Alert", "Who", "When", "Sent to", ""], alerts.map((one) => [h("strong", {}, one.name),
    one.is_known ? WHO[one.person] ?? one.person : h("span", {}, one.person, h("span", { class: "small bad" }, " (no one has this name now)")),
    `${one.cameras.length ? one.cameras.join(", ") : "All cameras"}, ${one.hours.replace("-", "–") || "always"}; at most one per ${AGAIN[one.not_again_within] ?? one.not_again_within}`,
    h("span", {}, TO[one.to], " ", h("code", {}, one.where)),
    h("button", { type: "button", class: "quiet", "aria-label": `Remove the alert ${one.name}`, onclick: () => ask({
      title: `Remove the alert ${one.name}?`,
      danger: true,
      body: [h("p", {}, "The rule and its address are erased. Stored sightings are not changed.")],
      submit: "Remove",
      send: async () => { finish(page, await remove(`/setup/alerts/${one.name}`), `Alert ${one.name} removed.`); },
    }) }, "Remove")]));
}

function finish(page, answer, text) {
  page.done(answer.is_watched ? text : `${text} Takes effect when the service restarts.`);
  page.open();
}

function addDialog(page, { has_broker }, cameras, names) {
  const address = h("input", { name: "url", maxlength: 1000, autocomplete: "off", spellcheck: "false", placeholder: "https://home.example/api/webhook/…" });
  const web = h("div", { class: "stack" }, field("Address", address), h("p", { class: "small faint" }, "Must be https, except on this machine. It will not be shown again."));
  const channel = h("select", { name: "to", onchange: (event) => { web.hidden = event.target.value !== "webhook"; } },
    ["webhook", ...(has_broker ? ["mqtt"] : [])].map((value) => h("option", { value }, TO[value])));
  const time = (name) => h("input", { name, type: "time" });
  ask({
    title: "Add an alert",
    body: [h("div", { class: "fields" }, field("Name", h("input", { name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9_\\-]+", title: "Letters, digits, _ and -", autocomplete: "off", placeholder: "night" })),
      field("Who", h("select", { name: "person" }, Object.entries(WHO).map(([value, text]) => h("option", { value }, text)), names.map((value) => h("option", { value }, value))))),
    cameras.length > 0 && h("fieldset", {}, h("legend", {}, "Cameras (none chosen: all)"), h("div", { class: "chips" }, cameras.map((one) => h("label", { class: "chip" }, h("input", { type: "checkbox", name: "camera", value: one.name }), h("span", {}, one.name))))),
    h("div", { class: "fields" }, field("From (empty: always)", time("from")), field("Until", time("until")),
      field("At most one per", h("select", { name: "again" }, Object.entries(AGAIN).map(([value, text]) => h("option", { value, selected: value === "10m" }, text)))), field("Send to", channel)),
    web, h("label", { class: "check" }, h("input", { type: "checkbox", name: "names" }), h("span", {}, "Include the person's name; otherwise only their number is sent."))],
    submit: "Add",
    send: async (data) => {
      const [from, until] = [data.get("from"), data.get("until")];
      if (Boolean(from) !== Boolean(until)) throw new Error("Set both times, or leave both empty for always.");
      const name = data.get("name").trim();
      const to = data.get("to");
      finish(page, await post("/setup/alerts", { name, person: data.get("person"), cameras: data.getAll("camera"), hours: from ? `${from}-${until}` : "", not_again_within: data.get("again"),
        to, url: to === "webhook" ? data.get("url").trim() : "", names: data.has("names") }), `Alert ${name} added.`);
    },
  });
}
