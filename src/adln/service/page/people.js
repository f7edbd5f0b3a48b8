// People: the list, and one person's visits across the cameras.

import { asShown, get, post, put } from "./api.js";
import { h, show, ask, field, moment, clockOf, dayOf, dayName, called, count, empty, midnight, span, upper } from "./dom.js";
import { cameraName } from "./search.js";
import { timeline, cameraLanes, exportPage, exportVisits, inSelection } from "./visits.js";

const PAGE = 60;
const CHOICES = 6;
const STOPS = 24;
// Sightings at one camera that are closer in time than this are one visit.
const VISIT_S = 300;

export async function peopleView(page) {
  const picked = new Map();
  const list = h("ul", { class: "people" });
  const place = h("div", {}, list);
  const bottom = h("div", { class: "card bottom", hidden: true });
  const more = h("button", { type: "button", hidden: true, onclick: () => load(true) }, "Show more");
  const total = h("p", { class: "faint", "aria-live": "polite" });
  const text = h("input", { type: "search", placeholder: "Name or number", "aria-label": "Find by name or number", oninput: () => { clearTimeout(waiting); waiting = setTimeout(() => load(false), 200); } });
  let waiting = null;
  let shown = 0;
  let turn = 0;

  const pick = (person, on) => {
    if (on) picked.set(person.person_id, person); else picked.delete(person.person_id);
    bottom.hidden = picked.size === 0;
    show(bottom, h("span", {}, `${count(picked.size, "person", "people")} selected`),
      h("button", { type: "button", class: "primary", disabled: picked.size < 2, onclick: () => mergeDialog(page, [...picked.values()]) }, "Merge"));
  };

  async function load(further) {
    const mine = ++turn;
    const answer = await get(`/persons?${new URLSearchParams({ text: text.value, limit: PAGE, pictures: true, offset: further ? shown : 0 })}`);
    if (mine !== turn) return;
    if (!further) { list.replaceChildren(); shown = 0; }
    shown += answer.people.length;
    list.append(...answer.people.map((person) => personItem(page, person, pick, picked.has(person.person_id))));
    more.hidden = shown >= answer.total;
    total.textContent = text.value ? `${answer.total} found` : count(answer.total, "person", "people");
    if (!answer.total && !text.value) {
      show(place, empty("No one is enrolled yet", "Enrol a person with a picture, or wait for a camera: everyone it sees well is added here, without a name."));
    }
  }

  await load(false);
  return h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "People"), total,
      h("div", { class: "actions" }, h("div", {}, text), page.may("operator") && h("a", { class: "button primary", href: "#/enrol" }, "Enrol a person"))),
    page.pictureNote(), place, h("p", { class: "section" }, more), bottom);
}

function personItem(page, person, pick, is_picked) {
  const name = called(person.person_id, person.name);
  return h("li", {}, page.picture(person.picture_ids[0] ?? null, name, "face"),
    h("div", { class: "text" }, h("a", { href: `#/people/${person.person_id}` }, name),
      h("p", { class: "small faint" }, person.num_sightings ? `seen ${moment(person.last_seen_s)}` : "not seen yet"),
      h("p", { class: "small faint" }, `${count(person.num_sightings, "sighting")}${person.cameras.length ? `, ${person.cameras.map((one) => cameraName(page, one)).slice(0, 3).join(", ")}` : ""}`)),
    page.may("operator") && h("label", { class: "pick" }, h("input", { type: "checkbox", checked: is_picked, "aria-label": `Choose ${name}`, onchange: (event) => pick(person, event.target.checked) })));
}

function mergeDialog(page, people) {
  const [first] = people;
  const choice = h("select", { name: "into" }, people.map((one) => h("option", { value: one.person_id, selected: one === (people.find((person) => person.name) ?? first) }, `${called(one.person_id, one.name)} (${count(one.num_sightings, "sighting")})`)));
  ask({
    title: `Are these ${people.length} the same person?`,
    body: [h("p", {}, people.map((one) => called(one.person_id, one.name)).join(", ")), field("Keep", choice),
      h("p", { class: "small faint" }, "All sightings are moved to this person. You can undo this for ten minutes.")],
    submit: "Merge",
    send: async (data) => {
      const into = Number(data.get("into"));
      const person_ids = people.map((one) => one.person_id).filter((one) => one !== into);
      const { undo_id } = await post(`/persons/${into}/merge`, { person_ids, expected: asShown(...people) });
      page.done("Merged.", undo_id);
      if (location.hash === `#/people/${into}`) page.open(); else location.hash = `#/people/${into}`;
    },
  });
}

export async function personView(page, id) {
  const [person, { person_ids: silenced }] = await Promise.all([get(`/persons/${id}`), get("/silenced")]);
  const silent = silenced.includes(person.person_id);
  const name = called(person.person_id, person.name);
  const picked = new Set();
  const bottom = h("div", { class: "card bottom", hidden: true });
  const pick = (sighting_id, on) => {
    picked[on ? "add" : "delete"](sighting_id);
    bottom.hidden = picked.size === 0;
    show(bottom, h("span", {}, `${count(picked.size, "sighting")} selected`),
      h("button", { type: "button", class: "primary", onclick: () => splitDialog(page, person, [...picked]) }, "Different person"));
  };
  const list = h("div", { class: "visits" });
  const more = h("button", { type: "button", hidden: true, onclick: () => load() }, "Show older");
  const chart = h("div");
  const route = h("div");
  const ranges = h("div", { class: "days" });
  const { visits, is_all } = await get(`/visits?person=${id}&limit=1000`);
  const seen = [];
  let next = null;
  let selection = null;
  let range = visits.length ? dayRange(visits[0].last_s) : null;

  async function load() {
    const wanted = new URLSearchParams({ person: id, limit: 200 });
    if (next) wanted.set("before", next);
    more.disabled = true;
    const answer = await get(`/sightings?${wanted}`).finally(() => { more.disabled = false; });
    seen.push(...answer.sightings);
    next = answer.next;
    more.hidden = next === null;
    drawLooks();
  }
  function drawLooks() {
    const inside = (one) => inSelection({ camera_id: one.camera_id, first_s: one.time_s, last_s: one.time_s }, selection ?? { lane: { has: () => true }, from: range.from, until: range.until });
    const looks = seen.filter(inside);
    list.replaceChildren(...(looks.length ? visitList(page, looks, pick, picked) : [h("p", { class: "faint" }, "No sighting in this time range is loaded yet.")]));
  }
  const inRange = () => visits.filter((one) => one.last_s >= range.from && one.first_s < range.until);
  /** From camera to camera, in the time range shown. */
  function drawRoute() {
    const stops = inRange().slice(0, STOPS).reverse();
    show(route, range.until - range.from <= 90000 && stops.length > 1 ? h("ol", { class: "way-of", "aria-label": "From camera to camera" },
      stops.map((one) => h("li", {}, h("a", { href: `#/moment/${one.sighting_id}` }, one.camera_name, h("span", { class: "small faint numbers" }, ` ${clockOf(one.first_s)}`))))) : null);
  }
  function drawChart() {
    const lanes = cameraLanes(page, visits, { all: false });
    drawRoute();
    show(chart, timeline({ lanes, visits, from: range.from, until: range.until, onSelect: (now) => { selection = now; drawLooks(); } }));
    const days = [...new Set(visits.map((one) => midnight(one.last_s)))].slice(0, 4);
    const choose = (text, value) => h("button", { type: "button", "aria-pressed": value.from === range.from && value.until === range.until ? "true" : null, onclick: () => { range = value; selection = null; drawChart(); drawLooks(); } }, text);
    const first = Math.min(...visits.map((one) => one.first_s));
    show(ranges, days.map((day) => choose(upper(dayName(day)), dayRange(day))),
      days.length > 1 || midnight(first) !== days[0] ? choose("All", { from: midnight(first), until: midnight(visits[0].last_s, 1) }) : null,
      h("div", { class: "row export" }, h("button", { type: "button", onclick: () => exportVisits(inRange(), `${name} ${dayOf(range.from)}`) }, "Export CSV"),
        h("button", { type: "button", onclick: () => exportPage(inRange(), `${name}, ${dayOf(range.from)}`) }, "Export page")));
  }

  if (visits.length) { drawChart(); await load(); }
  const [latest] = visits;
  const onDay = latest && visits.filter((one) => midnight(one.last_s) === midnight(latest.last_s)).length;
  return h("div", {},
    h("p", { class: "small" }, h("a", { href: "#/people" }, "← All people")),
    h("div", { class: "head section" },
      h("div", { class: "person" }, page.picture(person.picture_ids[0] ?? null, name, "face"),
        h("div", { class: "text" }, h("h1", { tabindex: "-1" }, name),
          latest ? h("p", {}, "Last seen ", h("strong", {}, moment(latest.last_s)), " at ", h("strong", {}, latest.camera_name), `, ${count(onDay, "visit")} ${dayName(latest.last_s)}`) : h("p", { class: "faint" }, "Not seen yet"),
          person.num_sightings ? h("p", { class: "faint small" }, `${count(person.num_sightings, "sighting")} at ${count(person.cameras.length, "camera")}`) : null,
          silent ? h("p", { class: "small" }, h("span", { class: "verdict scored" }, "Silenced"), " No alerts or messages are sent when they are seen.") : null)),
      h("div", { class: "actions" },
        page.may("operator") && h("button", { type: "button", onclick: () => nameDialog(page, person) }, person.name ? "Rename" : "Name"),
        page.may("operator") && h("button", { type: "button", onclick: () => silence(page, person, !silent) }, silent ? "Stop silencing" : "Silence"),
        page.may("operator") && h("button", { type: "button", onclick: () => mergeWithDialog(page, person) }, "Merge with…"),
        page.may("admin") && h("button", { type: "button", class: "danger", onclick: () => forgetDialog(page, person) }, "Forget"))),
    !visits.length ? empty("No sightings", "Enrol a picture of them, or wait until a camera sees them.") : [
      h("section", { class: "card" }, h("div", { class: "row" }, h("h2", {}, "Timeline")), ranges, chart, route,
        is_all ? null : h("p", { class: "small faint" }, "Only the newest visits are shown.")),
      h("section", { class: "section" }, h("h2", {}, "Visits"), list, h("p", { class: "section" }, more)),
    ], bottom);
}

const dayRange = (time_s) => ({ from: midnight(time_s), until: midnight(time_s, 1) });

/** Sightings grouped into visits, each sighting with a checkbox; those `picked` before are checked. */
function visitList(page, seen, pick, picked) {
  const visits = [];
  const open = new Map();
  for (const one of seen) {
    const visit = open.get(one.camera_id);
    if (visit && visit.at(-1).time_s - one.time_s <= VISIT_S) visit.push(one);
    else { visits.push([one]); open.set(one.camera_id, visits.at(-1)); }
  }
  let day = null;
  return visits.flatMap((looks) => {
    const [last] = looks;
    const first = looks.at(-1);

    const header = day === dayOf(last.time_s) ? [] : [h("h3", {}, upper(dayName(last.time_s)))];
    day = dayOf(last.time_s);
    return [...header, h("div", { class: "visit" }, h("p", {}, h("a", { href: `#/moment/${last.sighting_id}` }, h("strong", {}, span(first.time_s, last.time_s)), ` · ${last.camera_name}`), " ", looks.length > 1 && h("span", { class: "faint small" }, count(looks.length, "sighting"))),
      h("div", { class: "looks" }, looks.map((one) => h("div", { class: "look" }, page.picture(one.has_picture ? one.sighting_id : null, `${called(one.person_id, one.name)} at ${one.camera_name}, ${moment(one.time_s)}`, "small-shot"),
        page.may("operator") && h("label", { class: "look-pick" }, h("input", { type: "checkbox", checked: picked.has(one.sighting_id), "aria-label": `Choose the sighting of ${moment(one.time_s)}, number ${one.sighting_id}`, onchange: (event) => pick(one.sighting_id, event.target.checked) })))))) ];
  });
}

function nameDialog(page, person) {
  ask({
    title: person.name ? "Rename" : "Give a name",
    body: [field("Name", h("input", { name: "name", maxlength: 200, value: person.name ?? "", autocomplete: "off" }))],
    submit: "Save",
    send: async (data) => {
      const { undo_id } = await put(`/persons/${person.person_id}/name`, { name: data.get("name").trim() || null, expected: asShown(person) });
      page.done("Name saved.", undo_id);
      page.open();
    },
  });
}

/** Turns a person's events off or on: in Live, alerts and messages. */
async function silence(page, person, silent) {
  try {
    await put(`/persons/${person.person_id}/silence`, { silent });
    page.done(silent ? `${called(person.person_id, person.name)} is silenced: still recognised, but not reported.` : `${called(person.person_id, person.name)} is no longer silenced.`);
  } catch (error) { page.done(error.message); }
  page.open();
}

/** Lets the other person be found by name and face: a list of hundreds would be too long. */
async function mergeWithDialog(page, person) {
  const name = called(person.person_id, person.name);
  const found = h("ul", { class: "choices" });
  const said = h("p", { class: "small faint", "aria-live": "polite" });
  let waiting = null;
  let turn = 0;
  async function find(text) {
    const mine = ++turn;
    const { people, total } = await get(`/persons?${new URLSearchParams({ text, limit: CHOICES + 1, pictures: true })}`);
    if (mine !== turn) return;
    const others = people.filter((one) => one.person_id !== person.person_id).slice(0, CHOICES);
    show(found, others.map((one, at) => h("li", {}, h("label", { class: "choice" }, h("input", { type: "radio", name: "other", value: one.person_id, required: true, checked: at === 0 && text !== "" }),
      page.picture(one.picture_ids[0] ?? null, called(one.person_id, one.name), "small-shot", { enlarges: false }),
      h("span", {}, called(one.person_id, one.name), h("br"), h("span", { class: "small faint" }, one.num_sightings ? `last ${moment(one.last_seen_s)}` : "not seen yet"))))));
    said.textContent = !others.length ? "No one else has this name." : total > others.length + 1 ? "Type part of a name to see others." : "";
  }
  await find("");
  if (!found.children.length) { page.done("There is no one else to merge with."); return; }
  ask({
    title: `Who else is ${name}?`,
    body: [field("Name or number", h("input", { type: "search", autocomplete: "off", oninput: (event) => { clearTimeout(waiting); waiting = setTimeout(() => find(event.target.value), 150); } })), found, said,
      h("p", { class: "small faint" }, `Their sightings are moved to ${name}. You can undo this for ten minutes.`)],
    submit: "Merge",
    send: async (data) => {
      if (!data.get("other")) throw new Error("Choose a person.");
      const { undo_id } = await post(`/persons/${person.person_id}/merge`, { person_ids: [Number(data.get("other"))] });
      page.done("Merged.", undo_id);
      page.open();
    },
  });
}

function splitDialog(page, person, sighting_ids) {
  ask({
    title: "These show a different person",
    body: [h("p", {}, `${count(sighting_ids.length, "sighting")} of ${called(person.person_id, person.name)} will become a new person.`),
      field("Name (can be given later)", h("input", { name: "name", maxlength: 200, autocomplete: "off" }))],
    submit: "Split",
    send: async (data) => {
      const { undo_id } = await post(`/persons/${person.person_id}/split`, { sighting_ids, name: data.get("name").trim() || null });
      page.done("Split into a new person.", undo_id);
      page.open();
    },
  });
}

function forgetDialog(page, person) {
  const name = called(person.person_id, person.name);
  ask({
    title: `Forget ${name}?`,
    danger: true,
    body: [
      h("p", {}, `All ${count(person.num_sightings, "sighting")} and pictures are erased, in the gallery and on the disk, and the erasure is verified. This cannot be undone.`),
      h("label", { class: "check" }, h("input", { type: "checkbox", name: "suppress" }), h("span", {}, "Refuse to enrol them again. One template is kept for this purpose only.")),
      field(`Type ${name} to confirm`, h("input", { name: "typed", autocomplete: "off" })),
    ],
    submit: "Forget permanently",
    send: async (data, dialog) => {
      if (data.get("typed").trim() !== name) throw new Error(`Type ${name} exactly as written here.`);
      const proof = await post(`/persons/${person.person_id}/forget`, { suppress_above: data.has("suppress") ? 0.8 : null });
      dialog.dataset.stays = "yes";
      dialog.addEventListener("close", () => { location.hash = "#/people"; });
      show(dialog, proofOf(proof, dialog));
      dialog.querySelector("button").focus();
    },
  });
}

function proofOf(proof, dialog) {
  const left = proof.found_by_search + proof.traces_found;
  const title = proof.is_proved ? "Erased and verified" : left ? "Erased, but traces remain" : "Erased, but not verified: the server's files could not be read";
  const row = (label, value) => [h("dt", {}, label), h("dd", {}, value)];
  return h("div", { class: "stack" }, h("h2", { id: "dialog-title" }, title),
    h("dl", { class: `proof${proof.is_proved ? "" : " failed"}` },
      row("Sightings erased", proof.sightings), row("Pictures erased", proof.thumbnails),
      row("Still found by search", proof.found_by_search), row("Files searched", proof.files_searched), row("Traces in these files", proof.traces_found)),
    h("p", { class: "small faint" }, proof.suppressed_above === null ? "No template of them is kept. Copies of the folder, such as backups, are not covered." : `One template is kept, to refuse anyone with a similarity above ${proof.suppressed_above}.`),
    h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")));
}
