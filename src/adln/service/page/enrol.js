// Enrol a person from pictures or from a camera's current picture.

import { everyName, findPerson, post, sendPicture, takeFrame, showFile } from "./api.js";
import { h, s, show, field, called, count } from "./dom.js";
import { pictureOf, findPeople, cut, marker, lay } from "./frame.js";

// Width / height; a wider picture is taken for a scene, not for a crop of one person.
const WIDEST = 1.2;

export async function enrolView(page) {
  const known = await everyName();
  const frames = new Set();
  const list = h("div", { class: "frames" });
  const name = h("input", { name: "name", maxlength: 200, autocomplete: "off", placeholder: "Name", list: "known", "aria-describedby": "whose" });
  const whose = h("p", { id: "whose", class: "small faint" });
  const chosen = h("p", { class: "small", role: "status" });
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: "primary", disabled: true }, "Enrol");
  const form = h("form", { class: "card enrol-bar", hidden: true }, chosen, field("Name (can be given later)", name), h("datalist", { id: "known" }, known.map((one) => h("option", { value: one }))), whose, problem, go);

  const parts = () => [...frames].flatMap((frame) => frame.chosen ?? []);
  const named = () => name.value.trim().replace(/\s+/g, " ");
  const isKnown = () => known.includes(named());
  function draw() {
    form.hidden = !frames.size;
    const number = parts().length;
    go.disabled = !number;
    chosen.textContent = number ? `${count(number, "picture")} of the same person.` : "Choose the person to enrol.";
    go.textContent = isKnown() ? "Add" : "Enrol";
    whose.textContent = !isKnown() ? "" : `${name.value.trim()} is already enrolled: the pictures will be added.`;
  }
  name.addEventListener("input", draw);

  function add(file, title) {
    const frame = { chosen: null };
    frames.add(frame);
    const place = h("div", { class: "stack" }, h("p", { class: "loading small", role: "status" }, "Looking for people…"));
    const card = h("section", { class: "card frame", "aria-label": title }, h("div", { class: "row" }, h("h2", {}, title),
      h("button", { type: "button", class: "quiet", "aria-label": `Remove ${title}`, onclick: () => { frames.delete(frame); card.remove(); draw(); } }, "Remove")), place);
    list.append(card);
    draw();
    fill(place, file, (part) => { frame.chosen = part; draw(); }).catch((error) => show(place, h("p", { class: "error", role: "alert" }, error.message)));
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.hidden = true;
    const given = named();
    try {
      const found = given ? await findPerson(given) : null;
      const { person_id } = found?.name ? found : await post("/persons", { name: given || null });
      const refused = [];
      for (const part of parts()) {
        try { await sendPicture(`/persons/${person_id}/picture`, part); } catch (error) { refused.push(error.message); }
      }
      const who = called(person_id, given || null);
      page.done(refused.length ? `${who} is enrolled, but ${count(refused.length, "picture")} could not be used: ${refused[0]}` : `${who} is enrolled.`);
      location.hash = `#/people/${person_id}`;
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      draw();
    }
  });
  page.on(document, "paste", (event) => { for (const file of event.clipboardData.files) add(file, file.name || "Pasted picture"); });
  return h("div", {},
    h("p", { class: "small" }, h("a", { href: "#/people" }, "← All people")),
    h("div", { class: "head section" }, h("h1", { tabindex: "-1" }, "Enrol a person"),
      h("p", { class: "lead" }, "A few pictures from different sides work best. ", page.status.keeps_pictures ? "Small pictures are stored." : "Only embeddings are stored, not the pictures.")),
    drop((file) => add(file, file.name)), cameras(page, add), list, form);
}

function drop(add) {
  const input = h("input", { type: "file", multiple: true, accept: "image/jpeg,image/png,image/webp", "aria-label": "Pictures of the person" });
  const camera = h("input", { type: "file", accept: "image/jpeg", capture: "environment", "aria-label": "Take a photo" });
  for (const one of [input, camera]) one.addEventListener("change", () => { for (const file of one.files) add(file); one.value = ""; });
  const zone = h("div", { class: "drop" },
    s("svg", { viewBox: "0 0 24 24", width: 36, height: 36, "aria-hidden": "true" }, s("path", { d: "M12 16V5m0 0L8 9m4-4 4 4M4 16v2a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-2" })),
    h("strong", {}, "Drop, paste or choose pictures"), h("span", { class: "faint small how" }, "Pictures of whole scenes work, too: people are detected in them."), input);
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); for (const file of event.dataTransfer.files) add(file); });
  return h("div", { class: "ask" }, zone, h("label", { class: "button by-camera" }, "Take a photo", camera));
}

/** Buttons that take a picture from a camera, for cameras whose pictures may be shown. */
function cameras(page, add) {
  const shown = page.status.cameras.filter((one) => one.pictures && page.status.pipeline?.pictures);
  if (!shown.length) return page.status.cameras.length ? h("p", { class: "small faint frames-from" }, "Showing pictures is turned off for all cameras, so none can be taken from one. An admin can change that in Set up.") : null;
  const problem = h("p", { class: "small", role: "status" });
  return h("div", { class: "frames-from" }, h("div", { class: "chips", role: "group", "aria-label": "Take a picture from a camera" }, h("span", { class: "small faint" }, "Or take one now from"),
    shown.map((one) => h("button", { type: "button", class: "tool", onclick: async (event) => {
      const button = event.currentTarget;
      button.disabled = true;
      problem.textContent = `Asking ${one.name}…`;
      try {
        add(await takeFrame(one.camera_id), one.name);
        problem.textContent = "";
      } catch (error) { problem.textContent = error.message; } finally { button.disabled = false; }
    } }, one.name))), problem);
}

/** Detects the people in a picture and lets one be chosen, or marked by hand. */
async function fill(place, file, choose) {
  const [image, people] = await Promise.all([pictureOf(file), findPeople(file)]);
  const isSlim = image.naturalWidth <= WIDEST * image.naturalHeight;
  const byHand = (text) => h("button", { type: "button", onclick: () => { choose(null); mark(place, image, choose, draw); } }, text);
  const all = () => {
    choose(file);
    image.alt = "The picture";
    show(place, h("p", { class: "small faint" }, "The whole picture is used."), h("div", { class: "stage-of" }, image), h("div", { class: "row" }, byHand("Mark by hand")));
  };
  const draw = () => {
    choose(null);
    if (people?.length) { pick(place, image, people, choose, byHand("Mark by hand")); return; }
    image.alt = "The picture";
    show(place, h("p", { class: "note quiet-note" }, "No person was detected in this picture."), h("div", { class: "stage-of" }, image),
      h("div", { class: "row" }, byHand("Mark by hand"), isSlim && h("button", { type: "button", onclick: all }, "Use the whole picture")));
  };
  if (people !== null) draw();
  else if (isSlim) all();
  else mark(place, image, choose, null, h("p", { class: "note quiet-note" }, "No person detector is installed yet. To download one, run once on the machine itself: ", h("code", {}, "adln watch --fetch-detector"), "."));
}

async function pick(place, image, people, choose, other) {
  image.alt = "";
  const boxes = people.map((at) => { const box = h("div", { class: "person-box", "aria-hidden": "true" }); lay(box, at); return box; });
  // Smaller boxes lie on top of larger ones.
  const size = (at) => people[at].width * people[at].height;
  [...people.keys()].sort((a, b) => size(b) - size(a)).forEach((at, rank) => { boxes[at].style.zIndex = String(rank + 1); });
  const parts = await Promise.all(people.map((at) => cut(image, at)));
  const buttons = parts.map((part, at) => {
    const small = h("img", { alt: "" });
    showFile(part, small);
    return h("button", { type: "button", class: "shot found", "aria-pressed": "false", "aria-label": `Person ${at + 1} of ${people.length}, from the left`, onclick: () => turn(at) }, small);
  });
  let now = null;
  function turn(at) {
    now = at === now && people.length > 1 ? null : at;
    for (const [number, button] of buttons.entries()) {
      button.setAttribute("aria-pressed", String(number === now));
      boxes[number].classList.toggle("on", number === now);
    }
    choose(now === null ? null : parts[now]);
  }
  boxes.forEach((box, at) => box.addEventListener("click", () => turn(at)));
  show(place, h("p", { class: "small faint" }, people.length > 1 ? `${people.length} people. Which one?` : "One person was detected."),
    h("div", { class: "stage-of" }, image, boxes), h("div", { class: "found-people" }, buttons, other));
  if (people.length === 1) turn(0);
}

function mark(place, image, choose, back, note = null) {
  const marked = marker(image);
  const done = h("button", { type: "button", class: "primary", onclick: async () => {
    const part = await marked.part();
    choose(part);
    const small = h("img", { alt: "The marked person" });
    showFile(part, small);
    show(place, h("p", { class: "small faint" }, "You marked this person."), h("span", { class: "shot found" }, small),
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => { choose(null); mark(place, image, choose, back); } }, "Mark again")));
  } }, "Use this person");
  show(place, note, h("p", { class: "small faint" }, "Draw a box around one person, from head to feet."), marked.element, h("div", { class: "row" }, done, back && h("button", { type: "button", onclick: back }, "Back")));
}
