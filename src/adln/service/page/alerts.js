// Alerts: when somebody is told at once, of whom, and how.

import { post, remove } from "./api.js";
import { h, ask, field } from "./dom.js";
import { section, table } from "./sections.js";

const WHO = { anybody: "Anybody", unknown: "Somebody unknown" };
const AGAIN = { "1m": "a minute", "10m": "10 minutes", "1h": "an hour", "1d": "a day" };
const TO = { webhook: "Web hook", mqtt: "MQTT broker", command: "Program" };

export function alertSection(page, answer, cameras, people) {
  if (answer instanceof Error) return section("Alerts", null, h("p", { class: "error" }, answer.message));
  const names = people.map((one) => one.name).filter(Boolean).sort((a, b) => a.localeCompare(b));
  return section("Alerts", h("button", { type: "button", class: "primary", onclick: () => addDialog(page, answer, cameras.cameras ?? [], names) }, "Add an alert"), alertList(page, answer));
}

function alertList(page, { alerts }) {
  if (!alerts.length) return h("p", { class: "faint" }, "None. An alert tells you at once when somebody is seen: by a web hook, such as that of Home Assistant, or by MQTT.");
  return table("Alerts", ["Alert", "Who", "When", "Told by", ""], alerts.map((one) => [h("strong", {}, one.name),
    one.is_known ? WHO[one.person] ?? one.person : h("span", {}, one.person, h("span", { class: "small bad" }, " (nobody is called so now)")),
    `${one.cameras.length ? one.cameras.join(", ") : "All cameras"}, ${one.hours.replace("-", "–") || "always"}; not again within ${AGAIN[one.not_again_within] ?? one.not_again_within}`,
    h("span", {}, TO[one.to], " ", h("code", {}, one.where)),
    h("button", { type: "button", class: "quiet", "aria-label": `Remove the alert ${one.name}`, onclick: () => ask({
      title: `Tell nobody by ${one.name} any more?`,
      danger: true,
      body: [h("p", {}, "The rule is erased, and so is where it sends to. Nothing that was seen is changed.")],
      submit: "Remove",
      send: async () => { told(page, await remove(`/setup/alerts/${one.name}`), `The alert ${one.name} is removed.`); },
    }) }, "Remove")]));
}

function told(page, answer, text) {
  page.done(answer.is_watched ? text : `${text} This holds from the next start of the service on.`);
  page.open();
}

function addDialog(page, { has_broker }, cameras, names) {
  const address = h("input", { name: "url", maxlength: 1000, autocomplete: "off", spellcheck: "false", placeholder: "https://home.example/api/webhook/…" });
  const web = h("div", { class: "stack" }, field("Address", address), h("p", { class: "small faint" }, "Must be https, except on this machine. It is not shown again."));
  const way = h("select", { name: "to", onchange: (event) => { web.hidden = event.target.value !== "webhook"; } },
    ["webhook", ...(has_broker ? ["mqtt"] : [])].map((value) => h("option", { value }, TO[value])));
  const time = (name) => h("input", { name, type: "time" });
  ask({
    title: "Add an alert",
    body: [h("div", { class: "fields" }, field("Name", h("input", { name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9_\\-]+", title: "Letters, digits, _ and -", autocomplete: "off", placeholder: "night" })),
      field("Who", h("select", { name: "person" }, Object.entries(WHO).map(([value, text]) => h("option", { value }, text)), names.map((value) => h("option", { value }, value))))),
    cameras.length > 0 && h("fieldset", {}, h("legend", {}, "Cameras (all, if none is chosen)"), h("div", { class: "chips" }, cameras.map((one) => h("label", { class: "chip" }, h("input", { type: "checkbox", name: "camera", value: one.name }), h("span", {}, one.name))))),
    h("div", { class: "fields" }, field("From (always, if empty)", time("from")), field("Until", time("until")),
      field("Not again within", h("select", { name: "again" }, Object.entries(AGAIN).map(([value, text]) => h("option", { value, selected: value === "10m" }, text)))), field("Told by", way)),
    web, h("label", { class: "check" }, h("input", { type: "checkbox", name: "names" }), h("span", {}, "Say the person's name; else only their number is sent."))],
    submit: "Add",
    send: async (data) => {
      const [from, until] = [data.get("from"), data.get("until")];
      if (Boolean(from) !== Boolean(until)) throw new Error("Give both times, or none for always.");
      const name = data.get("name").trim();
      const to = data.get("to");
      told(page, await post("/setup/alerts", { name, person: data.get("person"), cameras: data.getAll("camera"), hours: from ? `${from}-${until}` : "", not_again_within: data.get("again"),
        to, url: to === "webhook" ? data.get("url").trim() : "", names: data.has("names") }), `The alert ${name} is set.`);
    },
  });
}
