// Follow: one day at all cameras; who was where in each hour; export to a file.

import { findPerson, get } from "./api.js";
import { h, show, field, called, count, dayName, dayOf, empty, midnight } from "./dom.js";
import { timeline, cameraLanes, visitCards, exportPage, exportVisits, inSelection, legend } from "./visits.js";

const WHO = { everybody: "Everyone", named: "People with a name", unnamed: "People without a name", nobody: "Unknown people" };
const SHOWN = 60;
// Kept while the page is open.
const chosen = { day: null, who: "everybody", person: "", cameras: new Set() };

export async function followView(page, who_first = null) {
  if (who_first in WHO) { chosen.who = who_first; chosen.day = midnight(); }
  chosen.day ??= midnight();
  const { people } = await get("/persons?limit=500");
  const byName = new Map(people.map((one) => [called(one.person_id, one.name), one.person_id]));
  const place = h("div");
  const head = h("p", { class: "lead", "aria-live": "polite" });
  const days = h("div", { class: "days" });
  const person = h("input", { list: "everybody", value: chosen.person, placeholder: "Anyone", autocomplete: "off", onchange: (event) => { chosen.person = event.target.value.trim(); load(); } });
  const who = h("select", { onchange: (event) => { chosen.who = event.target.value; load(); } },
    Object.entries(WHO).map(([value, text]) => h("option", { value, selected: value === chosen.who }, text)));
  const file = h("button", { type: "button", onclick: () => exportVisits(listed, `visits ${isoDay(chosen.day)}`) }, "Export CSV");
  const whole = h("button", { type: "button", onclick: () => exportPage(listed, `Visits, ${dayOf(chosen.day)}`) }, "Export page");
  const chips = h("div", { class: "chips" });
  let listed = [];
  let turn = 0;

  function drawDays() {
    const today = midnight();
    const button = (label, day, text = label) => h("button", { type: "button", "aria-label": label, "aria-pressed": day === chosen.day ? "true" : null, onclick: () => { chosen.day = day; load(); } }, text);
    show(days, button("The day before", midnight(chosen.day, -1), "‹"), button("Today", today), button("Yesterday", midnight(today, -1)),
      h("input", { type: "date", "aria-label": "Day", value: isoDay(chosen.day), onchange: (event) => { const [year, month, date] = event.target.value.split("-").map(Number); if (date) { chosen.day = new Date(year, month - 1, date).getTime() / 1000; load(); } } }),
      chosen.day < today && button("The day after", midnight(chosen.day, 1), "›"));
  }

  async function load() {
    const mine = ++turn;
    drawDays();
    const until = midnight(chosen.day, 1);
    const wanted = new URLSearchParams({ from_s: chosen.day, until_s: until, who: chosen.who, limit: 1000 });
    if (chosen.person) {
      const id = byName.get(chosen.person) ?? (await findPerson(chosen.person))?.person_id;
      if (mine !== turn) return;
      if (id === undefined) { show(place, empty("No one has this name", "Choose a person from the list, or leave the field empty.")); return; }
      wanted.append("person", id);
    }
    const answer = await get(`/visits?${wanted}`);
    if (mine !== turn) return;
    const lanes = cameraLanes(page, answer.visits);
    show(chips, lanes.map((lane) => h("label", { class: "chip" }, h("input", { type: "checkbox", checked: chosen.cameras.has(lane.camera), onchange: (event) => { chosen.cameras[event.target.checked ? "add" : "delete"](lane.camera); load(); } }), h("span", {}, lane.label))));
    const kept = lanes.filter((lane) => !chosen.cameras.size || chosen.cameras.has(lane.camera));
    const visits = answer.visits.filter((one) => kept.some((lane) => lane.has(one)));
    if (!visits.length) {
      listed = [];
      head.textContent = `No one was seen ${dayName(chosen.day)}.`;
      file.disabled = whole.disabled = true;
      show(place, await nothing());
      return;
    }
    const list = h("div");
    const select = (selection) => {
      listed = visits.filter((one) => inSelection(one, selection));
      const persons = new Set(listed.map((one) => one.person_id ?? `nobody ${one.first_s}`)).size;
      head.textContent = selection ? `${selection.lane.label}, ${dayName(selection.from)} ${selection.text}: ${count(persons, "person", "people")}.`
        : `${count(persons, "person", "people")}, ${count(listed.length, "visit")} ${dayName(chosen.day)}.`;
      show(list, h("h2", { class: "unseen" }, "Visits"), visitCards(page, listed.slice(0, SHOWN)), listed.length > SHOWN && h("p", { class: "faint" }, `${count(listed.length - SHOWN, "more visit")}: choose an hour above, a camera or a person.`));
    };
    file.disabled = whole.disabled = false;
    show(place, h("section", { class: "card" }, timeline({ lanes: kept, visits, from: chosen.day, until, title: legend(), onSelect: select })),
      answer.is_all ? null : h("p", { class: "note" }, "This day has too many visits to show at once; earlier ones are left out. Choose a camera or a person."),
      h("section", { class: "section" }, list));
    select(null);
  }

  async function nothing() {
    const { visits: [latest] } = await get("/visits?limit=1");
    return empty(`No one was seen ${dayName(chosen.day)}`, latest ? "Try another day, camera or person." : "Sightings appear here as soon as a camera or another device sends them.",
      latest && h("button", { type: "button", onclick: () => { chosen.day = midnight(latest.last_s); chosen.cameras.clear(); load(); } }, `Show ${dayName(latest.last_s)}, the latest`));
  }

  await load();
  return h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Follow"), head, h("div", { class: "actions" }, file, whole)),
    h("div", { class: "bar-of-filters" }, days,
      h("details", { class: "filters", open: chosen.cameras.size > 0 || chosen.person !== "" || chosen.who !== "everybody" }, h("summary", {}, "Filters"),
        h("div", { class: "fields" }, field("Person", person), field("Who", who)), h("datalist", { id: "everybody" }, [...byName.keys()].map((name) => h("option", { value: name }))),
        h("fieldset", { class: "section" }, h("legend", {}, "Cameras (none chosen: all)"), chips))),
    place);
}

const isoDay = (time_s) => { const date = new Date(time_s * 1000); return `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`; };
