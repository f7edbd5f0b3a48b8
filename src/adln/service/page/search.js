// Search by picture or sighting: who it is, and the most similar sightings.

import { get, post, sendPicture, showFile } from "./api.js";
import { cut, marker, pictureOf } from "./frame.js";
import { h, s, show, ask, field, moment, dayName, midnight, called, count, empty, upper } from "./dom.js";
import { visitCards } from "./visits.js";

const WORDS = { matched: "Matched", candidate: "Perhaps", unknown: "Unknown" };
const AMOUNT = 20;
const SHOWN_VISITS = 12;
// Kept while the page is open, so that the filters survive a change of view.
const chosen = { cameras: new Set(), from: "", until: "" };

export function badge(verdict, probability, words = WORDS) {
  if (verdict === null) return h("span", { class: "verdict scored" }, "Score only");
  return h("span", { class: `verdict ${verdict}` }, probability === null ? words[verdict] : `${words[verdict]} · ${Math.round(probability * 100)} %`);
}

export async function searchView(page, sighting_id = null) {
  const results = h("div", { "aria-live": "polite" });
  const drop = dropZone(sighting_id !== null, (file) => run(file));
  const view = h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Search"),
      h("p", { class: "lead" }, "Find where a person was seen.")),
    page.status.gives_verdicts ? null : h("p", { class: "note" }, "This network is not calibrated: answers are ranked by similarity, without a verdict or confidence. To calibrate it, run `adln calibrate`."),
    drop, await filters(page), results);
  if (sighting_id === null && page.status.gives_verdicts) show(results, legend());
  const again = () => last && last();
  let last = null;
  let turn = 0;

  async function run(file) {
    last = () => run(file);
    await search(() => sendPicture(`/search/picture?${query()}`, file), file);
  }

  async function search(send, file = null) {
    const mine = ++turn;
    drop.classList.add("slim");
    show(results, h("p", { class: "loading" }, "Searching…"));
    try {
      const answer = await send();
      const content = await answered(page, answer, { file, sighting_id, again, run });
      // A newer search may have been started in the meantime.
      if (mine === turn) show(results, content);
    } catch (error) {
      if (mine === turn) show(results, h("p", { class: "error", role: "alert" }, error.message));
    }
  }

  if (sighting_id !== null) {
    last = () => search(() => post("/search", { sighting_id: Number(sighting_id), k: AMOUNT, where: where() }));
    last();
  }
  if (page.handed) { const file = page.handed; page.handed = null; run(file); }
  view.addEventListener("change", (event) => { if (event.target.closest(".filters")) again(); });
  page.on(document, "paste", (event) => { const file = event.clipboardData.files[0]; if (file) run(file); });
  return view;
}

function legend() {
  const row = (verdict, text) => h("li", {}, h("span", { class: `verdict ${verdict}` }, WORDS[verdict]), h("span", { class: "faint" }, text));
  return h("section", { class: "section" }, h("h2", {}, "Verdicts"), h("ul", { class: "legend" },
    row("matched", "similar enough to be the same person"),
    row("candidate", "may be this person: compare the pictures yourself"),
    row("unknown", "no enrolled person is similar enough")));
}

export function dropZone(slim, run) {
  const input = h("input", { type: "file", accept: "image/jpeg,image/png,image/webp", "aria-label": "Picture to search for" });
  const camera = h("input", { type: "file", accept: "image/jpeg", capture: "environment", "aria-label": "Take a photo" });
  const zone = h("div", { class: "drop" },
    s("svg", { viewBox: "0 0 24 24", width: 40, height: 40, "aria-hidden": "true" },
      s("path", { d: "M12 16V5m0 0L8 9m4-4 4 4M4 16v2a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-2" })),
    h("strong", {}, h("span", { class: "by-mouse" }, "Drop or paste a picture of a person"), h("span", { class: "by-touch" }, "Choose a picture of a person")),
    h("span", { class: "faint small how" }, "or choose one: JPEG, PNG or WebP. It is not stored."), input);
  for (const one of [input, camera]) one.addEventListener("change", () => { if (one.files[0]) run(one.files[0]); one.value = ""; });
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files[0]) run(event.dataTransfer.files[0]);
  });
  return h("div", { class: slim ? "ask slim" : "ask" }, zone, h("label", { class: "button by-camera" }, "Take a photo", camera));
}

async function filters(page) {
  const { people } = await get("/persons?limit=500");
  const cameras = new Set(Object.keys(page.status.camera_names).map(Number));
  for (const person of people) person.cameras.forEach((camera) => cameras.add(camera));
  const chip = (camera) => h("label", { class: "chip" },
    h("input", { type: "checkbox", checked: chosen.cameras.has(camera), onchange: (event) => chosen.cameras[event.target.checked ? "add" : "delete"](camera) }),
    h("span", {}, cameraName(page, camera)));
  const when = (key) => h("input", { type: "datetime-local", value: chosen[key], onchange: (event) => { chosen[key] = event.target.value; } });
  return h("details", { class: "filters section", open: chosen.cameras.size > 0 || Boolean(chosen.from || chosen.until) },
    h("summary", {}, "Filters"),
    cameras.size > 0 && h("fieldset", {}, h("legend", {}, "Cameras (none chosen: all)"),
      h("div", { class: "chips" }, [...cameras].sort((a, b) => a - b).map(chip))),
    h("div", { class: "fields" }, field("Seen from", when("from")), field("Seen until", when("until"))));
}

export const cameraName = (page, camera) => page.status.camera_names[camera] ?? `camera ${camera}`;

const seconds = (text) => (text ? new Date(text).getTime() / 1000 : null);

function where() {
  return { cameras: chosen.cameras.size ? [...chosen.cameras] : null, from_s: seconds(chosen.from), until_s: seconds(chosen.until) };
}

/** The filters as parameters of a request, added to others. */
function query(others = { k: AMOUNT }) {
  const wanted = new URLSearchParams(others);
  chosen.cameras.forEach((camera) => wanted.append("camera", camera));
  if (chosen.from) wanted.set("from_s", seconds(chosen.from));
  if (chosen.until) wanted.set("until_s", seconds(chosen.until));
  return wanted;
}

/** The answer: who, where last seen, why, then the other sightings. */
async function answered(page, answer, { file, sighting_id, again, run }) {
  const frame = file && answer.verdict !== "matched" ? await sendPicture("/frames/people", file).catch(() => null) : null;
  if (!answer.is_crop) return wholeFrame(frame, file, run);
  const name = called(answer.person_id, answer.name);
  let person = null;
  let visits = [];
  if (answer.person_id !== null) {
    [person, { visits }] = await Promise.all([get(`/persons/${answer.person_id}`), get(`/visits?${query({ person: answer.person_id, limit: 100 })}`)]);
  }
  return [
    frame?.can_find && !frame.people.length && !answer.found.some((one) => one.verdict === "matched") ? h("p", { class: "note" }, "No person was detected in this picture. The answer is valid only if it shows one.") : null,
    answerCard(page, answer, { file, sighting_id, again, person, visits }),
    person && visits.length ? h("section", { class: "section" }, h("h2", {}, `Where ${name} was`), visitCards(page, visits.slice(0, SHOWN_VISITS), { who: false }),
      visits.length > SHOWN_VISITS && h("p", {}, h("a", { href: `#/people/${answer.person_id}` }, "All visits"))) : null,
    strip(page, answer),
  ];
}

function answerCard(page, answer, { file, sighting_id, again, person, visits }) {
  const name = called(answer.person_id, answer.name);
  const sure = answer.probability === null ? "" : `, ${answer.probability > 0.99 ? "over 99" : Math.round(answer.probability * 100)} % confidence`;
  const sentence = { matched: `${name}${sure}`, candidate: `Perhaps ${name}${sure}`, unknown: "No match" }[answer.verdict] ?? (answer.person_id === null ? "No one to compare with" : `Most similar to ${name}`);
  const asked = h("span", { class: "shot large" });
  if (file) {
    const address = URL.createObjectURL(file);
    asked.append(h("img", { src: address, alt: "The picture that was searched for", onload: () => URL.revokeObjectURL(address) }));
  }
  const [latest] = visits;
  const onDay = latest ? visits.filter((one) => midnight(one.last_s) === midnight(latest.last_s)).length : 0;
  return h("section", { class: `card answer ${answer.verdict ?? ""}`, "aria-label": "Answer" },
    h("div", { class: "faces" }, file ? asked : page.picture(sighting_id === null ? null : Number(sighting_id), "the sighting", "large"), person && page.picture(person.picture_ids[0] ?? null, name, "large")),
    h("div", { class: "text" }, h("span", { class: `verdict ${answer.verdict ?? "scored"}` }, WORDS[answer.verdict] ?? "Score only"), h("h2", {}, sentence),
      latest ? h("p", { class: "last" }, "Last seen ", h("strong", {}, moment(latest.last_s)), " at ", h("strong", {}, latest.camera_name), `, ${count(onDay, "visit")} ${dayName(latest.last_s)}`)
        : person ? h("p", { class: "faint" }, "Not seen at the cameras and times of the filters.") : seenAsNobody(answer),
      h("div", { class: "actions" },
        person && h("a", { class: "button primary", href: `#/people/${answer.person_id}` }, `Follow ${name}`),
        file && page.may("operator") && h("button", { type: "button", onclick: () => enrolPicture(page, answer, file, again) }, "Enrol this picture")),
      why(page, answer)));
}

/** For a person who is not enrolled: when and where they were last seen. */
function seenAsNobody(answer) {
  const theirs = answer.person_id === null ? answer.found.filter((one) => one.sighting.person_id === null && one.verdict === "matched").map((one) => one.sighting) : [];
  if (!theirs.length) return null;
  const latest = theirs.reduce((a, b) => (a.time_s > b.time_s ? a : b));
  return h("p", { class: "last" }, "Seen before, but not enrolled: last ", h("strong", {}, moment(latest.time_s)), " at ", h("strong", {}, latest.camera_name), ". ", h("a", { href: `#/moment/${latest.sighting_id}` }, "Open"));
}

/** Why: who else it could be, and how far behind they are. */
function why(page, answer) {
  const others = answer.runners_up.filter((one) => one.person_id !== answer.person_id);
  // The most similar person, if the answer names no one.
  const first = answer.person_id === null && answer.found.map((one) => ({ ...one.sighting, score: one.similarity, picture_id: one.sighting.has_picture ? one.sighting.sighting_id : null })).find((one) => one.person_id !== null);
  if (first && !others.some((one) => one.person_id === first.person_id)) others.unshift(first);
  return h("details", { class: "why", open: answer.verdict !== "matched" }, h("summary", {}, answer.verdict === "matched" ? "Why?" : "Most similar people"),
    h("p", { class: "small" }, explained(answer, others), ` Compared with ${count(answer.gallery_size, "person", "people")}.`),
    others.length ? h("ul", {}, others.slice(0, 3).map((one) => {
      const name = called(one.person_id, one.name);
      return h("li", {}, page.picture(one.picture_id, name, "small-shot"), h("div", {}, h("a", { href: `#/people/${one.person_id}` }, name),
        h("p", { class: "small faint numbers" }, behind(answer, one))));
    })) : null);
}

/** The reason, without numbers. */
function explained(answer, [next]) {
  const name = called(answer.person_id, answer.name);
  const other = next && called(next.person_id, next.name);
  if (answer.verdict === "matched") return `As similar as pictures of one person are${next ? `; ${other} is next, ${behind(answer, next)}` : ""}.`;
  if (answer.verdict === "candidate") return `More similar than two different people usually are, but not enough to be sure that it is ${name}${next ? `; ${other} is ${behind(answer, next)}` : ""}.`;
  if (answer.verdict === "unknown") return next ? `${other} is the most similar, but two different people can be this similar.` : "There is no one to compare with.";
  return `${upper(answer.reason)}.`;
}

function behind(answer, one) {
  if (answer.person_id === null || answer.score === null) return `similarity ${percent(one.score)}`;
  const by = answer.score - one.score;
  return by < 0.03 ? "about as similar" : by < 0.15 ? "a little less similar" : "far less similar";
}

const percent = (cosine) => `${Math.round(100 * Math.max(0, cosine))} %`;

/** A picture of a scene: one of the people in it is chosen, or marked by hand. */
function wholeFrame(frame, file, run) {
  const found = frame?.people ?? [];
  const section = h("section", { class: "card whole", "aria-label": "Answer" });
  const byHand = () => mark(section, found.length ? "" : frame?.can_find ? "No person was detected. If there is one, draw a box around them." : "Draw a box around them.", file, run);
  if (!found.length) { byHand(); return section; }
  const image = h("img", { alt: `The picture, with ${count(found.length, "person", "people")} in it` });
  showFile(file, image);
  const boxes = found.map((one, at) => {
    const [left, top, right, bottom] = one.box_xyxy.map((value, axis) => Math.min(1, Math.max(0, value / (axis % 2 ? frame.height_px : frame.width_px))));
    const box = { left, top, width: right - left, height: bottom - top };
    const button = h("button", { type: "button", class: "found-box", "aria-label": `Search for person ${at + 1}`, onclick: async () => run(await cut(image, box)) }, h("span", { "aria-hidden": "true" }, at + 1));
    for (const [key, value] of Object.entries(box)) button.style[key] = `${100 * value}%`;
    return button;
  });
  show(section, h("span", { class: "verdict scored" }, count(found.length, "person", "people")), h("h2", {}, "Which person?"),
    h("div", { class: "cropper picking" }, image, boxes), h("div", { class: "actions" }, h("button", { type: "button", onclick: byHand }, "Mark someone else")));
  return section;
}

/** Lets the user mark one person, and searches for them. */
async function mark(section, text, file, run) {
  const marked = marker(await pictureOf(file));
  show(section, h("span", { class: "verdict scored" }, "A whole picture"), h("h2", {}, "Mark one person in it"),
    text && h("p", { class: "small faint" }, text), marked.element, h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: async () => run(await marked.part()) }, "Search for this person")));
}

function strip(page, answer) {
  if (!answer.found.length) return empty("Nothing to compare with", "No sighting passes the filters. Remove some filters, or enrol a person first.");
  return h("details", { class: "section look-alikes", open: answer.verdict !== "matched" }, h("summary", {}, `Most similar sightings (${answer.found.length})`), h("ol", { class: "strip", tabindex: "0", "aria-label": "Most similar first" }, answer.found.map((one) => {
    const { sighting } = one;
    const bar = h("i");
    bar.style.width = percent(one.similarity).replace(" ", "");
    const name = called(sighting.person_id, sighting.name);
    return h("li", {}, h("div", { class: "frame" }, page.picture(sighting.has_picture ? sighting.sighting_id : null, `${name} at ${sighting.camera_name}, ${moment(sighting.time_s)}`, "wide"), h("span", { class: "rank" }, h("span", { "aria-hidden": "true" }, one.rank), "")),
      h("span", { class: "name" }, sighting.person_id === null ? name : h("a", { href: `#/people/${sighting.person_id}` }, name)),
      h("div", { class: `meter ${one.verdict ?? ""}`, "aria-hidden": "true" }, bar),
      h("span", { class: "small faint numbers" }, `similarity ${percent(one.similarity)}`),
      h("span", { class: "small" }, sighting.camera_name, h("br"), h("span", { class: "faint" }, moment(sighting.time_s))),
      h("button", { type: "button", "aria-label": `Search with this sighting of ${name}, rank ${one.rank}`, onclick: () => { location.hash = `#/search/${sighting.sighting_id}`; } }, "More like this"));
  })));
}

function enrolPicture(page, answer, file, again) {
  const known = answer.person_id !== null;
  const name = called(answer.person_id, answer.name);
  const radio = (value, text, checked) => h("label", { class: "check" }, h("input", { type: "radio", name: "who", value, checked }), h("span", {}, text));
  ask({
    title: "Enrol this picture",
    body: [
      known ? h("fieldset", { class: "stack" }, h("legend", {}, "Who is it?"), radio("known", `It is ${name}`, true), radio("new", "A new person", false)) : null,
      field(known ? "Name of a new person" : "Name (can be given later)", h("input", { name: "name", maxlength: 200, autocomplete: "off" })),
      h("p", { class: "small faint" }, page.status.keeps_pictures ? "A small picture is stored." : "Only an embedding is stored, not the picture."),
    ].filter(Boolean),
    submit: "Enrol",
    send: async (data) => {
      let person_id = answer.person_id;
      if (data.get("who") !== "known") ({ person_id } = await post("/persons", { name: data.get("name").trim() || null }));
      await sendPicture(`/persons/${person_id}/picture`, file);
      page.done(`Enrolled as ${data.get("who") === "known" ? name : data.get("name").trim() || `Person ${person_id}`}.`);
      again();
    },
  });
}
