// Live: what the cameras see now. Status: what the service runs with and what was done.

import { get } from "./api.js";
import { h, show, moment, clockOf, called, count, empty, silhouette } from "./dom.js";
import { badge, cameraName } from "./search.js";

const STATES = { running: "Running", connecting: "Connecting…", lost: "No picture", ended: "Ended" };
const FEED = 50;
// Somebody not seen for so long has gone.
const PRESENT_S = 15;

export async function liveView(page) {
  const { people } = await get("/persons?limit=500");
  const names = new Map(people.map((person) => [person.person_id, person.name]));
  const state = h("span", { class: "state connecting", role: "status" }, "Connecting…");
  const cameras = h("ul", { class: "cameras" });
  const feed = h("ol", { class: "feed card", "aria-label": "Sightings, newest first" });
  const nothing = empty("Quiet so far", "As soon as a camera recognises somebody, it shows here.");
  const here = new Map();
  let views = page.status.cameras;

  function drawCameras() {
    const now = Date.now() / 1000;
    show(cameras, views.map((camera) => {
      const present = [...(here.get(camera.camera_id) ?? new Map()).values()].filter((one) => now - one.last_time_s < PRESENT_S);
      return h("li", { class: "card" }, h("h2", {}, camera.name),
        h("span", { class: `state ${camera.state}` }, STATES[camera.state] ?? camera.state),
        h("p", { class: "small faint numbers" }, `${camera.fps.toFixed(1)} pictures a second, ${count(camera.people, "person", "people")} in view`),
        camera.last_error && h("p", { class: "small" }, camera.last_error),
        h("div", { class: "present" }, present.map((one) => h("a", { class: "shot small-shot", href: one.person_id === null ? "#/live" : `#/people/${one.person_id}`, "aria-label": called(one.person_id, names.get(one.person_id) ?? null) }, silhouette(one.person_id)))));
    }));
  }

  function sighting(event) {
    nothing.remove();
    if (!here.has(event.camera_id)) here.set(event.camera_id, new Map());
    here.get(event.camera_id).set(event.track_id, event);
    const name = event.verdict === "unknown" && event.person_id === null ? "Somebody unknown" : called(event.person_id, names.get(event.person_id) ?? null);
    feed.hidden = false;
    feed.prepend(h("li", {}, h("span", { class: "shot small-shot" }, silhouette(event.person_id)),
      h("div", { class: "text" }, event.person_id === null ? h("strong", {}, name) : h("a", { href: `#/people/${event.person_id}` }, name),
        h("p", { class: "small faint" }, `${event.camera_name}, ${clockOf(event.last_time_s)}`)),
      badge(event.verdict, event.probability)));
    while (feed.children.length > FEED) feed.lastChild.remove();
    drawCameras();
  }

  feed.hidden = true;
  drawCameras();
  page.follow((kind, content) => {
    if (kind === "sighting") sighting(content);
    else if (kind === "cameras") { views = content.cameras; drawCameras(); }
    else if (kind === "gallery" && content.person_id !== null) {
      get(`/persons/${content.person_id}`).then((person) => names.set(person.person_id, person.name)).catch(() => names.delete(content.person_id));
    }
  }, (connected) => {
    state.className = connected ? "state running" : "state lost";
    state.textContent = connected ? "Live" : "Connection lost; trying again…";
  });
  return h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Live"), state),
    views.length ? cameras : h("p", { class: "note" }, "No camera runs in this service. Boxes that push sightings need none; what they push is found by searching."),
    h("section", {}, h("h2", {}, "Latest"), nothing, feed));
}

export async function statusView(page) {
  const { status } = page;
  const fact = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
  const content = h("div", {}, h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Status")),
    h("dl", { class: "facts" },
      fact("Sightings", status.sightings.toLocaleString()), fact("People", status.people.toLocaleString()),
      fact("Load of the machine", status.load === null ? "not known" : `${Math.round(status.load * 100)} %`), fact("Running for", since(status.up_s)),
      fact("Network", status.model ? `Res${status.model.depth}, ${status.precision}` : "none"),
      fact("Verdicts", status.gives_verdicts ? "given" : "none, no calibration"),
      fact("Pictures", status.keeps_pictures ? "kept" : "not kept"), fact("Pages that follow", status.listeners)),
    status.model && h("p", { class: "section small faint" }, "Model ", h("code", {}, status.model.digest)),
    h("section", { class: "section" }, h("h2", {}, "Cameras"), status.cameras.length
      ? h("div", { class: "table-box", tabindex: "0" }, h("table", {}, h("thead", {}, h("tr", {}, ["Camera", "State", "Pictures/s", "In view", "Newest picture", "Trouble"].map((one) => h("th", { scope: "col" }, one)))),
        h("tbody", {}, status.cameras.map((one) => h("tr", {}, [one.name, STATES[one.state] ?? one.state, one.fps.toFixed(1), one.people, moment(one.last_frame_s), one.last_error || "none"].map((text) => h("td", {}, text)))))))
      : h("p", { class: "faint" }, "None in this service.")));
  if (page.may("admin")) content.append(await auditSection());
  return content;
}

async function auditSection() {
  const audit = await get("/audit?limit=50");
  return h("section", { class: "section" }, h("h2", {}, "Who did what"),
    h("p", { class: audit.is_sound ? "small faint" : "error" }, audit.is_sound
      ? `${count(audit.num_entries, "entry", "entries")}, unbroken. To prove it later, keep this elsewhere: ` : `Entry ${audit.first_broken} was changed, or one before it was removed. `, h("code", {}, audit.newest_digest)),
    h("div", { class: "table-box card", tabindex: "0", role: "region", "aria-label": "Audit log" }, h("table", {}, h("thead", {}, h("tr", {}, ["When", "Who", "What", "Details"].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, audit.entries.map((entry) => h("tr", {}, h("td", {}, moment(entry.time_s)), h("td", {}, entry.actor), h("td", {}, entry.action),
        h("td", {}, Object.entries(entry.details).map(([key, value]) => `${key} ${Array.isArray(value) ? value.join(", ") : value}`).join(", "))))))));
}

function since(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}
