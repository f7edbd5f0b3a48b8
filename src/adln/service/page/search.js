// Search: a picture or a sighting in, a ranked strip and a plain answer out.

import { get, post, sendPicture } from "./api.js";
import { h, s, show, ask, field, moment, called, count, empty } from "./dom.js";

const WORDS = { matched: "Matched", candidate: "Candidate", unknown: "Unknown" };
// Beside a name in the list, "unknown" would be taken for the name.
const LIST_WORDS = { ...WORDS, unknown: "Unlikely" };
// Of a sighting of nobody it is said whether it shows the same person, whoever that is.
const NOBODYS_WORDS = { matched: "Same person", candidate: "Perhaps the same", unknown: "Unlikely" };
// Kept while the page is open, so that looking at a person does not lose the filters.
const chosen = { cameras: new Set(), from: "", until: "", k: "20" };

export function badge(verdict, probability, words = WORDS) {
  if (verdict === null) return h("span", { class: "verdict scored" }, "Score only");
  return h("span", { class: `verdict ${verdict}` }, probability === null ? words[verdict] : `${words[verdict]} · ${Math.round(probability * 100)} %`);
}

export async function searchView(page, sighting_id = null) {
  const results = h("div", { "aria-live": "polite" });
  const drop = dropZone(sighting_id !== null, (file) => run(file));
  const view = h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Search"),
      h("p", { class: "lead" }, "Find where somebody was seen.")),
    page.status.gives_verdicts ? null : h("p", { class: "note" }, "This network has no calibration: answers are ordered by likeness, but nobody can say how sure they are. `adln calibrate` changes that."),
    drop, await filters(page), results);
  if (sighting_id === null && page.status.gives_verdicts) show(results, legend());
  const again = () => last && last();
  let last = null;

  async function run(file) {
    last = () => run(file);
    await search(() => sendPicture(`/search/picture?${query()}`, file), file);
  }

  async function search(send, file = null) {
    drop.classList.add("slim");
    show(results, h("p", { class: "loading" }, "Searching…"));
    try {
      const answer = await send();
      show(results, answerCard(page, answer, file, again), strip(page, answer));
    } catch (error) {
      show(results, h("p", { class: "error", role: "alert" }, error.message));
    }
  }

  if (sighting_id !== null) {
    last = () => search(() => post("/search", { sighting_id: Number(sighting_id), k: Number(chosen.k), where: where() }));
    last();
  }
  view.addEventListener("change", (event) => { if (event.target.closest(".filters")) again(); });
  view.addEventListener("paste", (event) => { const file = event.clipboardData.files[0]; if (file) run(file); });
  return view;
}

function legend() {
  const row = (verdict, text) => h("li", {}, h("span", { class: `verdict ${verdict}` }, WORDS[verdict]), h("span", { class: "faint" }, text));
  return h("section", { class: "section" }, h("h2", {}, "What an answer says"), h("ul", { class: "legend" },
    row("matched", "alike enough to count as the same person"),
    row("candidate", "may be the same person: look yourself"),
    row("unknown", "nobody here is alike enough")));
}

function dropZone(slim, run) {
  const input = h("input", { type: "file", accept: "image/jpeg,image/png,image/webp", "aria-label": "Picture to search for" });
  const zone = h("div", { class: slim ? "drop slim" : "drop" },
    s("svg", { viewBox: "0 0 24 24", width: 40, height: 40, "aria-hidden": "true" },
      s("path", { d: "M12 16V5m0 0L8 9m4-4 4 4M4 16v2a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-2" })),
    h("strong", {}, "Drop a picture of a person"),
    h("span", { class: "faint small" }, "or choose one: JPEG, PNG or WebP, cut out around them. It is not stored."), input);
  input.addEventListener("change", () => { if (input.files[0]) run(input.files[0]); });
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files[0]) run(event.dataTransfer.files[0]);
  });
  return zone;
}

async function filters(page) {
  const { people } = await get("/persons?limit=500");
  const cameras = new Set(Object.keys(page.status.camera_names).map(Number));
  for (const person of people) person.cameras.forEach((camera) => cameras.add(camera));
  const chip = (camera) => h("label", { class: "chip" },
    h("input", { type: "checkbox", checked: chosen.cameras.has(camera), onchange: (event) => chosen.cameras[event.target.checked ? "add" : "delete"](camera) }),
    h("span", {}, cameraName(page, camera)));
  const when = (key) => h("input", { type: "datetime-local", value: chosen[key], onchange: (event) => { chosen[key] = event.target.value; } });
  const amount = h("select", { onchange: (event) => { chosen.k = event.target.value; } },
    ["10", "20", "50", "100"].map((k) => h("option", { value: k, selected: k === chosen.k }, k)));
  return h("details", { class: "filters section", open: chosen.cameras.size > 0 || Boolean(chosen.from || chosen.until) },
    h("summary", {}, "Filters"),
    cameras.size > 0 && h("fieldset", {}, h("legend", {}, "Cameras (all, if none is chosen)"),
      h("div", { class: "chips" }, [...cameras].sort((a, b) => a - b).map(chip))),
    h("div", { class: "fields" }, field("Seen from", when("from")), field("Seen until", when("until")), field("Answers", amount)));
}

export const cameraName = (page, camera) => page.status.camera_names[camera] ?? `camera ${camera}`;

const seconds = (text) => (text ? new Date(text).getTime() / 1000 : null);

function where() {
  return { cameras: chosen.cameras.size ? [...chosen.cameras] : null, from_s: seconds(chosen.from), until_s: seconds(chosen.until) };
}

function query() {
  const wanted = new URLSearchParams({ k: chosen.k });
  chosen.cameras.forEach((camera) => wanted.append("camera", camera));
  if (chosen.from) wanted.set("from_s", seconds(chosen.from));
  if (chosen.until) wanted.set("until_s", seconds(chosen.until));
  return wanted;
}

function answerCard(page, answer, file, again) {
  const name = called(answer.person_id, answer.name);
  const sentence = { matched: `This is ${name}`, candidate: `This may be ${name}`, unknown: "Nobody who is known here" }[answer.verdict] ?? "Most alike first";
  const explained = `${answer.reason[0].toUpperCase()}${answer.reason.slice(1)}.`;
  const frame = h("span", { class: "shot" });
  if (file) {
    const address = URL.createObjectURL(file);
    frame.append(h("img", { src: address, alt: "The picture that was searched for", onload: () => URL.revokeObjectURL(address) }));
  }
  return h("section", { class: `card answer ${answer.verdict ?? ""}`, "aria-label": "Answer" }, file && frame,
    h("div", { class: "text" }, badge(answer.verdict, answer.probability), h("h2", {}, sentence),
      h("p", { class: "faint" }, `${explained} Among ${count(answer.gallery_size, "person", "people")}.`.trim()),
      h("div", { class: "actions" },
        answer.person_id !== null && h("a", { class: "button", href: `#/people/${answer.person_id}` }, `See where ${name} was`),
        file && page.may("operator") && h("button", { type: "button", onclick: () => enrolPicture(page, answer, file, again) }, "Enrol this picture"))));
}

function strip(page, answer) {
  if (!answer.found.length) return empty("Nothing to compare with", "No sighting passes the filters. Take some of them away, or enrol somebody first.");
  return h("section", {}, h("h2", {}, "Most alike"), h("ol", { class: "strip", tabindex: "0", "aria-label": "Most alike, best first" }, answer.found.map((one) => {
    const { sighting } = one;
    const bar = h("i");
    bar.style.width = `${Math.max(0, one.similarity) * 100}%`;
    const name = called(sighting.person_id, sighting.name);
    return h("li", {}, h("div", { class: "frame" }, page.shot(sighting), h("span", { class: "rank" }, h("span", { "aria-hidden": "true" }, one.rank), "")),
      h("span", { class: "name" }, sighting.person_id === null ? name : h("a", { href: `#/people/${sighting.person_id}` }, name)),
      h("span", {}, badge(one.verdict, one.probability, sighting.person_id === null ? NOBODYS_WORDS : LIST_WORDS)),
      h("div", { class: `meter ${one.verdict ?? ""}`, "aria-hidden": "true" }, bar),
      h("span", { class: "small faint numbers" }, `likeness ${one.similarity.toFixed(3)}`),
      h("span", { class: "small" }, sighting.camera_name, h("br"), h("span", { class: "faint" }, moment(sighting.time_s))),
      h("button", { type: "button", "aria-label": `Search with this look of ${name}, rank ${one.rank}`, onclick: () => { location.hash = `#/search/${sighting.sighting_id}`; } }, "More like this"));
  })));
}

function enrolPicture(page, answer, file, again) {
  const known = answer.person_id !== null;
  const name = called(answer.person_id, answer.name);
  const radio = (value, text, checked) => h("label", { class: "check" }, h("input", { type: "radio", name: "who", value, checked }), h("span", {}, text));
  ask({
    title: "Enrol this picture",
    body: [
      known ? h("fieldset", { class: "stack" }, h("legend", {}, "Who is it?"), radio("known", `It is ${name}`, true), radio("new", "Somebody new", false)) : null,
      field(known ? "Name, if it is somebody new" : "Name (can be given later)", h("input", { name: "name", maxlength: 200, autocomplete: "off" })),
      h("p", { class: "small faint" }, page.status.keeps_pictures ? "A small picture is kept." : "The picture itself is not kept, only what it is recognised by."),
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
