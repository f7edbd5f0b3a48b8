// People: everybody, and one person's way across the cameras.

import { get, post, put, sendPicture } from "./api.js";
import { h, show, ask, field, moment, clockOf, dayOf, called, count, empty, silhouette } from "./dom.js";
import { cameraName } from "./search.js";

const PAGE = 60;
// Looks that are nearer in time than this, at one camera, are one visit.
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

  const pick = (person, on) => {
    if (on) picked.set(person.person_id, person); else picked.delete(person.person_id);
    bottom.hidden = picked.size === 0;
    show(bottom, h("span", {}, `${count(picked.size, "person", "people")} chosen`),
      h("button", { type: "button", class: "primary", disabled: picked.size < 2, onclick: () => mergeDialog(page, [...picked.values()]) }, "Merge"));
  };

  async function load(further) {
    const answer = await get(`/persons?${new URLSearchParams({ text: text.value, limit: PAGE, offset: further ? shown : 0 })}`);
    if (!further) { list.replaceChildren(); shown = 0; }
    shown += answer.people.length;
    list.append(...answer.people.map((person) => personItem(page, person, pick)));
    more.hidden = shown >= answer.total;
    total.textContent = text.value ? `${answer.total} found` : count(answer.total, "person", "people");
    if (!answer.total && !text.value) {
      show(place, empty("Nobody is known yet", "Enrol somebody with a picture, or let a camera do it: whoever it sees well becomes a person here, without a name."));
    }
  }

  await load(false);
  return h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "People"), total,
      h("div", { class: "actions" }, h("div", {}, text), page.may("operator") && h("button", { type: "button", class: "primary", onclick: () => enrolDialog(page) }, "Enrol somebody"))),
    place, h("p", { class: "section" }, more), bottom);
}

function personItem(page, person, pick) {
  const name = called(person.person_id, person.name);
  return h("li", {}, h("span", { class: "shot small-shot" }, silhouette(person.person_id)),
    h("div", { class: "text" }, h("a", { href: `#/people/${person.person_id}` }, name),
      h("p", { class: "small faint" }, person.num_sightings ? `seen ${moment(person.last_seen_s)}` : "not seen yet"),
      h("p", { class: "small faint" }, `${count(person.num_sightings, "sighting")}${person.cameras.length ? `, ${person.cameras.map((one) => cameraName(page, one)).slice(0, 3).join(", ")}` : ""}`)),
    page.may("operator") && h("label", { class: "pick" }, h("input", { type: "checkbox", "aria-label": `Choose ${name}`, onchange: (event) => pick(person, event.target.checked) })));
}

function enrolDialog(page) {
  ask({
    title: "Enrol somebody",
    body: [
      field("Name (can be given later)", h("input", { name: "name", maxlength: 200, autocomplete: "off" })),
      field("Pictures", h("input", { name: "pictures", type: "file", multiple: true, accept: "image/jpeg,image/png,image/webp" })),
      h("p", { class: "small faint" }, page.status.keeps_pictures ? "Small pictures are kept." : "The pictures themselves are not kept, only what somebody is recognised by."),
    ],
    submit: "Enrol",
    send: async (data) => {
      const name = data.get("name").trim();
      const files = data.getAll("pictures").filter((file) => file.size);
      const { person_id } = await post("/persons", { name: name || null });
      const refused = [];
      for (const file of files) {
        try { await sendPicture(`/persons/${person_id}/picture`, file); } catch (error) { refused.push(`${file.name}: ${error.message}`); }
      }
      page.done(refused.length ? `Enrolled, but ${refused.join("; ")}` : `${called(person_id, name || null)} is enrolled.`);
      location.hash = `#/people/${person_id}`;
    },
  });
}

function mergeDialog(page, people) {
  const [first] = people;
  const choice = h("select", { name: "into" }, people.map((one) => h("option", { value: one.person_id, selected: one === (people.find((person) => person.name) ?? first) }, `${called(one.person_id, one.name)} (${count(one.num_sightings, "sighting")})`)));
  ask({
    title: `Are these ${people.length} one person?`,
    body: [h("p", {}, people.map((one) => called(one.person_id, one.name)).join(", ")), field("Keep", choice),
      h("p", { class: "small faint" }, "All sightings go to the one who is kept. You can take this back for ten minutes.")],
    submit: "Merge",
    send: async (data) => {
      const into = Number(data.get("into"));
      const person_ids = people.map((one) => one.person_id).filter((one) => one !== into);
      const { undo_id } = await post(`/persons/${into}/merge`, { person_ids });
      page.done("Merged.", undo_id);
      if (location.hash === `#/people/${into}`) page.open(); else location.hash = `#/people/${into}`;
    },
  });
}

export async function personView(page, id) {
  const person = await get(`/persons/${id}`);
  const name = called(person.person_id, person.name);
  const picked = new Set();
  const bottom = h("div", { class: "card bottom", hidden: true });
  const pick = (sighting_id, on) => {
    picked[on ? "add" : "delete"](sighting_id);
    bottom.hidden = picked.size === 0;
    show(bottom, h("span", {}, `${count(picked.size, "sighting")} chosen`),
      h("button", { type: "button", class: "primary", onclick: () => splitDialog(page, person, [...picked]) }, "Somebody else"));
  };
  const visits = h("div", { class: "visits" });
  const lanes = h("div");
  const more = h("button", { type: "button", hidden: true, onclick: () => load() }, "Show older");
  const seen = [];
  let next = null;

  async function load() {
    const wanted = new URLSearchParams({ person: id, limit: 200 });
    if (next) wanted.set("before", next);
    const answer = await get(`/sightings?${wanted}`);
    seen.push(...answer.sightings);
    next = answer.next;
    more.hidden = next === null;
    show(lanes, seen.length ? laneChart(seen) : null);
    visits.replaceChildren(...visitList(page, seen, pick));
  }

  await load();
  return h("div", {},
    h("p", { class: "small" }, h("a", { href: "#/people" }, "← All people")),
    h("div", { class: "head section" },
      h("div", { class: "person" }, h("span", { class: "shot small-shot" }, silhouette(person.person_id)),
        h("div", { class: "text" }, h("h1", { tabindex: "-1" }, name),
          h("p", { class: "faint" }, person.num_sightings ? `${count(person.num_sightings, "sighting")} at ${count(person.cameras.length, "camera")}, last ${moment(person.last_seen_s)}` : "Not seen yet"))),
      h("div", { class: "actions" },
        page.may("operator") && h("button", { type: "button", onclick: () => nameDialog(page, person) }, person.name ? "Rename" : "Name"),
        page.may("operator") && h("button", { type: "button", onclick: () => mergeWithDialog(page, person) }, "Merge with…"),
        page.may("admin") && h("button", { type: "button", class: "danger", onclick: () => forgetDialog(page, person) }, "Forget"))),
    seen.length === 0 ? empty("No sightings", "Add a picture from the search, or wait until a camera sees them.") : [
      h("section", { class: "card" }, h("h2", {}, "Across cameras"), lanes),
      h("section", { class: "section" }, h("h2", {}, "Timeline"), visits, h("p", { class: "section" }, more)),
    ], bottom);
}

function laneChart(seen) {
  const times = seen.map((one) => one.time_s);
  const first = Math.min(...times);
  const last = Math.max(...times);
  const names = new Map(seen.map((one) => [one.camera_id, one.camera_name]));
  const lanes = [...names].sort((a, b) => a[0] - b[0]).flatMap(([camera, name]) => {
    const theirs = seen.filter((one) => one.camera_id === camera);
    const lane = h("div", { class: "lane", role: "img", "aria-label": `${count(theirs.length, "sighting")} at ${name}` });
    for (const one of theirs) {
      const dot = h("i", { title: moment(one.time_s) });
      dot.style.left = `${last > first ? 2 + 96 * (one.time_s - first) / (last - first) : 50}%`;
      lane.append(dot);
    }
    return [h("span", { class: "small" }, name), lane];
  });
  return h("div", { class: "lanes" }, lanes, h("span"), h("div", { class: "ends" }, h("span", {}, moment(first)), h("span", {}, last > first ? moment(last) : "")));
}

function visitList(page, seen, pick) {
  const visits = [];
  for (const one of seen) {
    const visit = visits.at(-1);
    if (visit && visit.camera_id === one.camera_id && visit.looks.at(-1).time_s - one.time_s < VISIT_S) visit.looks.push(one);
    else visits.push({ camera_id: one.camera_id, looks: [one] });
  }
  let day = null;
  return visits.flatMap(({ looks }) => {
    const [last] = looks;
    const first = looks.at(-1);
    const span = clockOf(first.time_s) === clockOf(last.time_s) ? clockOf(last.time_s) : `${clockOf(first.time_s)} – ${clockOf(last.time_s)}`;
    const header = dayOf(last.time_s) === day ? [] : [h("h3", {}, day = dayOf(last.time_s))];
    return [...header, h("div", { class: "visit" }, h("p", {}, h("strong", {}, span), ` · ${last.camera_name} `, looks.length > 1 && h("span", { class: "faint small" }, count(looks.length, "sighting"))),
      h("div", { class: "looks" }, looks.map((one) => h("label", { class: "look" }, page.shot(one, true),
        page.may("operator") && h("input", { type: "checkbox", "aria-label": `Choose the sighting of ${moment(one.time_s)}, number ${one.sighting_id}`, onchange: (event) => pick(one.sighting_id, event.target.checked) })))))];
  });
}

function nameDialog(page, person) {
  ask({
    title: person.name ? "Rename" : "Give a name",
    body: [field("Name", h("input", { name: "name", maxlength: 200, value: person.name ?? "", autocomplete: "off" }))],
    submit: "Save",
    send: async (data) => {
      const { undo_id } = await put(`/persons/${person.person_id}/name`, { name: data.get("name").trim() || null });
      page.done("Name saved.", undo_id);
      page.open();
    },
  });
}

async function mergeWithDialog(page, person) {
  const { people } = await get("/persons?limit=500");
  const others = people.filter((one) => one.person_id !== person.person_id);
  if (!others.length) { page.done("There is nobody else to merge with."); return; }
  const choice = h("select", { name: "other" }, others.map((one) => h("option", { value: one.person_id }, `${called(one.person_id, one.name)} (${count(one.num_sightings, "sighting")})`)));
  ask({
    title: `Who else is ${called(person.person_id, person.name)}?`,
    body: [field("The same person", choice), h("p", { class: "small faint" }, "Their sightings come here. You can take this back for ten minutes.")],
    submit: "Merge",
    send: async (data) => {
      const { undo_id } = await post(`/persons/${person.person_id}/merge`, { person_ids: [Number(data.get("other"))] });
      page.done("Merged.", undo_id);
      page.open();
    },
  });
}

function splitDialog(page, person, sighting_ids) {
  ask({
    title: "These show somebody else",
    body: [h("p", {}, `${count(sighting_ids.length, "sighting")} of ${called(person.person_id, person.name)} become a new person.`),
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
      h("p", {}, `All ${count(person.num_sightings, "sighting")} and pictures are erased, here and on the disk, and it is checked that nothing is left. This cannot be taken back.`),
      h("label", { class: "check" }, h("input", { type: "checkbox", name: "suppress" }), h("span", {}, "Refuse to enrol them again. For this one template of them stays, used for nothing else.")),
      field(`Type ${name} to go on`, h("input", { name: "typed", autocomplete: "off" })),
    ],
    submit: "Forget for good",
    send: async (data, dialog) => {
      if (data.get("typed").trim() !== name) throw new Error(`Type ${name}, as it is written here.`);
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
  const title = proof.is_proved ? "Forgotten, and proved" : left ? "Erased, but traces are left" : "Erased; the server's files could not be read for proof";
  const row = (label, value) => [h("dt", {}, label), h("dd", {}, value)];
  return h("div", { class: "stack" }, h("h2", { id: "dialog-title" }, title),
    h("dl", { class: `proof${proof.is_proved ? "" : " failed"}` },
      row("Sightings erased", proof.sightings), row("Pictures erased", proof.thumbnails),
      row("Found again by a search", proof.found_by_search), row("Files read through", proof.files_searched), row("Traces in these files", proof.traces_found)),
    h("p", { class: "small faint" }, proof.suppressed_above === null ? "No template of them is kept. Copies that somebody made of the folder are out of reach." : `One template is kept, to refuse whoever is more alike than ${proof.suppressed_above}.`),
    h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")));
}
