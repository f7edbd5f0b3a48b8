// Live: what the cameras see now. Status: configuration, state and audit log of the service.

import { get, loadCamera } from "./api.js";
import { h, s, show, moment, clockOf, called, count, empty, silhouette, colourOf, STATES } from "./dom.js";
import { badge, cameraName } from "./search.js";

const FEED = 50;
// Older scenes are cleared from the view.
const SCENE_MS = 3000;
const PICTURE_MS = 500;
const MANY_CAMERAS = 4;
// Scenes kept until the picture of the same time arrives.
const SCENES = 24;

export async function liveView(page) {
  const { people } = await get("/persons?limit=500&pictures=true");
  const faces = new Map(people.map((person) => [person.person_id, person.picture_ids[0] ?? null]));
  const names = new Map(people.map((person) => [person.person_id, person.name]));
  const nameOf = (person_id) => called(person_id, names.get(person_id) ?? null);
  /** Loads the name and face of a person who is not in the list. */
  function learn(person_id) {
    // Until the answer, a known person keeps the name: the first events are of before this view was opened.
    if (!names.has(person_id)) names.set(person_id, null);
    return get(`/persons/${person_id}`).then((person) => { names.set(person_id, person.name); faces.set(person_id, person.picture_ids[0] ?? null); }).catch(() => {});
  }
  const state = h("span", { class: "state connecting", role: "status" }, "Connecting…");
  const place = h("div");
  const trouble = h("div");
  const work = h("p", { class: "faint small numbers" });
  const feed = h("ol", { class: "feed card", "aria-label": "Sightings, newest first", hidden: true });
  const nothing = empty("Nothing yet", "Sightings appear here as soon as a camera recognises someone.");
  const stages = new Map();
  const entries = new Map();

  function draw({ cameras, pipeline }) {
    show(trouble, troubleOf(pipeline));
    work.textContent = workOf(pipeline);
    const numbers = cameras.map((one) => one.camera_id).join();
    if (place.dataset.cameras !== numbers) {
      place.dataset.cameras = numbers;
      stages.clear();
      for (const one of cameras) stages.set(one.camera_id, stageOf(one, nameOf));
      show(place, cameras.length ? h("ul", { class: "cameras" }, [...stages.values()].map((one) => one.item))
        : h("div", { class: "note" }, h("p", {}, "This service runs no camera. Sightings that other devices push are found by searching."), page.may("admin") && h("p", {}, h("a", { href: "#/setup" }, "Add a camera"))));
    }
    for (const one of cameras) stages.get(one.camera_id).update(one, pipeline);
  }

  function sighting(event) {
    nothing.remove();
    feed.hidden = false;
    const key = `${event.camera_id} ${event.track_id}`;
    // A later recognition of the same track replaces the earlier one.
    entries.get(key)?.remove();
    const name = nameOf(event.person_id);
    const item = h("li", {}, page.picture(faces.get(event.person_id) ?? null, name, "small-shot"),
      h("div", { class: "text" }, event.person_id === null ? h("strong", {}, name) : h("a", { href: `#/people/${event.person_id}` }, name),
        h("p", { class: "small faint" }, `${cameraName(page, event.camera_id)}, ${clockOf(event.last_time_s)}`)),
      event.verdict === "unknown" && event.person_id !== null ? h("span", { class: "verdict scored" }, "New") : badge(event.verdict, event.probability));
    entries.set(key, item);
    feed.prepend(item);
    while (feed.children.length > FEED) feed.lastChild.remove();
    if (entries.size > 4 * FEED) for (const [one, shown] of entries) if (!shown.isConnected) entries.delete(one);
  }

  draw(page.status);
  page.follow((kind, content) => {
    if (kind === "sighting") {
      if (content.person_id === null || names.has(content.person_id)) sighting(content);
      else learn(content.person_id).then(() => sighting(content));
    } else if (kind === "scene") {
      for (const { person_id } of content.people) if (person_id !== null && !names.has(person_id)) learn(person_id);
      stages.get(content.camera_id)?.see(content);
    }
    else if (kind === "cameras") draw(content);
    else if (kind === "gallery" && content.person_id !== null) {
      learn(content.person_id);
    }
  }, (connected) => {
    state.className = connected ? "state running" : "state lost";
    state.textContent = connected ? "Live" : "Connection lost; reconnecting…";
    if (!connected) for (const one of stages.values()) one.lost();
  });
  let turn = 0;
  page.every(PICTURE_MS, () => {
    turn += 1;
    if (stages.size <= MANY_CAMERAS || turn % 2) for (const one of stages.values()) one.tick();
  });
  return h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Live"), state, work), trouble, place,
    h("section", { class: "section" }, h("h2", {}, "Latest"), nothing, feed));
}

/** One camera: boxes of the people in it, over its picture if pictures may be shown. */
function stageOf(camera, nameOf) {
  const image = h("img", { alt: "", hidden: true });
  const people = s("svg", { viewBox: "0 0 16 9", "aria-hidden": "true" });
  const quiet = h("span", { class: "quiet small" });
  const grow = h("button", { type: "button", class: "grow", "aria-label": `Enlarge ${camera.name}`, "aria-expanded": "false", onclick: () => enlarge(!item.classList.contains("big")) }, s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5" })));
  const stage = h("div", { class: "stage", onclick: (event) => { if (!event.target.closest("button")) enlarge(!item.classList.contains("big")); } }, image, people, quiet, grow);
  const state = h("span", { class: "state" });
  const facts = h("span", { class: "small faint numbers" });
  const chips = h("div", { class: "present" });
  const error = h("p", { class: "small faint", hidden: true });
  const item = h("li", { class: "card camera" }, stage,
    h("div", { class: "text" }, h("div", { class: "row" }, h("h2", {}, camera.name), state, facts), error, chips));
  function enlarge(big) {
    for (const other of item.parentElement.querySelectorAll(".big")) if (other !== item) other.querySelector(".grow").click();
    item.classList.toggle("big", big);
    grow.setAttribute("aria-expanded", String(big));
    grow.setAttribute("aria-label", `${big ? "Make smaller" : "Enlarge"} ${camera.name}`);
    if (big) item.scrollIntoView({ block: "nearest" });
  }
  item.addEventListener("keydown", (event) => { if (event.key === "Escape" && item.classList.contains("big")) enlarge(false); });
  let seen_ms = -Infinity;
  let view = camera;
  let pictures = false;
  let asking = false;
  let shown = null;
  let scenes = [];

  const clear = (text) => { people.replaceChildren(); chips.replaceChildren(); shown = null; quiet.textContent = text; };
  function drawScene(scene) {
    people.setAttribute("viewBox", `0 0 ${scene.width_px} ${scene.height_px}`);
    people.replaceChildren(...scene.people.flatMap((one) => figureOf(one, scene, nameOf, !image.hidden)));
  }
  function picture(there) {
    image.hidden = !there;
    stage.classList.toggle("pictured", there);
  }
  clear(STATES[camera.state] ?? camera.state);
  return {
    item,
    update(now, pipeline) {
      view = now;
      pictures = Boolean(pipeline?.pictures && now.pictures) && now.state === "running";
      if (!pictures) picture(false);
      state.className = `state ${now.state}`;
      state.textContent = STATES[now.state] ?? now.state;
      facts.textContent = now.state === "running" ? `${now.fps.toFixed(1)} pictures/s` : now.last_frame_s === null ? "" : `since ${moment(now.last_frame_s)}`;
      error.hidden = !now.last_error;
      error.textContent = now.last_error;
    },
    /** What is shown is old; updates say when it no longer is. */
    lost() {
      pictures = false;
      picture(false);
      clear("No connection");
      state.className = "state lost";
      state.textContent = "Not known";
      facts.textContent = "";
    },
    see(scene) {
      seen_ms = performance.now();
      scenes = [...scenes.slice(-SCENES), scene];
      if (image.hidden) drawScene(scene);
      quiet.textContent = scene.people.length ? "" : "No one in view";
      const who = scene.people.map((one) => `${one.person_id} ${nameOf(one.person_id)}`).sort().join();
      if (who === shown) return;
      shown = who;
      const known = [...new Set(scene.people.map((one) => one.person_id))].filter((one) => one !== null);
      const unknown = scene.people.filter((one) => one.person_id === null).length;
      chips.replaceChildren(...known.map((one) => h("a", { class: "tag", href: `#/people/${one}` }, dotOf(one), nameOf(one))),
        ...(unknown ? [h("span", { class: "tag" }, dotOf(null), `${unknown} unknown`)] : []));
    },
    tick() {
      if (performance.now() - seen_ms > SCENE_MS) clear(STATES[view.state] === "Running" ? "Nothing new" : STATES[view.state] ?? view.state);
      if (!pictures || asking || document.hidden) return;
      asking = true;
      loadCamera(view.camera_id, image).then((time_s) => {
        asking = false;
        picture(pictures && time_s !== null);
        const scene = scenes.findLast((one) => one.time_s === time_s);
        if (scene) drawScene(scene);
      });
    },
  };
}

/** A person in a camera's view: a box in the picture, or a silhouette if there is no picture. */
function figureOf(one, scene, nameOf, pictured) {
  const [left, top, right, bottom] = one.box_xyxy;
  const colour = colourOf(one.person_id);
  const size = scene.height_px / 17;
  const frame = pictured
    ? s("rect", { x: left, y: top, width: right - left, height: bottom - top, rx: size / 5, fill: "none", stroke: colour, "stroke-width": size / 7, ...(one.verdict === "candidate" ? { "stroke-dasharray": `${size / 3} ${size / 4}` } : {}) })
    : silhouette();
  // A tighter view box, so that the figure is as tall as the person.
  if (!pictured) for (const [name, value] of Object.entries({ viewBox: "10 9 44 110", x: left, y: top, width: right - left, height: bottom - top })) frame.setAttribute(name, value);
  if (one.person_id === null) return [frame];
  const text = `${nameOf(one.person_id)}${one.verdict === "candidate" ? "?" : ""}`;
  const width = size * (0.6 * text.length + 0.8);
  const x = Math.min(Math.max(0, (left + right - width) / 2), scene.width_px - width);
  const y = Math.max(0, top - 1.35 * size);
  return [frame, s("rect", { x, y, width, height: 1.25 * size, rx: size / 3, class: "label-box" }),
    s("text", { x: x + width / 2, y: y + 0.92 * size, "font-size": size, class: "label" }, text)];
}

function dotOf(person_id) {
  return s("svg", { viewBox: "0 0 10 10", class: "dot", "aria-hidden": "true" }, s("circle", { cx: 5, cy: 5, r: 4.5, fill: colourOf(person_id) }));
}

function troubleOf(pipeline) {
  if (!pipeline) return null;
  if (pipeline.state === "failed") return h("p", { class: "error", role: "alert" }, `The cameras are not being watched: ${pipeline.problem} The service retries automatically.`);
  if (pipeline.state === "starting") return h("p", { class: "note" }, "The cameras are starting…");
  if (pipeline.state === "ended") return h("p", { class: "note" }, "All recordings have ended.");
  return null;
}

/** The load from the cameras, in words. */
function workOf(pipeline) {
  if (!pipeline || pipeline.state !== "running" || !pipeline.depth) return "";
  const parts = [];
  if (pipeline.keep_one_in > 1) parts.push(`1 frame in ${pipeline.keep_one_in} is processed`);
  if (pipeline.budget_ms) parts.push(pipeline.load_ms > pipeline.budget_ms ? "Over the time budget: fewer frames are processed" : `${Math.round(100 * pipeline.load_ms / pipeline.budget_ms)} % of the time budget`);
  return parts.join(" · ");
}

/** The machine's load, in words. */
function busy(load) {
  if (load === null) return "Unknown";
  return load < 0.7 ? "Idle" : load < 1.2 ? "Busy" : "Overloaded";
}

export async function statusView(page) {
  const { status } = page;
  const fact = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
  const content = h("div", {}, h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Status")),
    h("dl", { class: "facts" },
      fact("Sightings", status.sightings.toLocaleString()), fact("People", status.people.toLocaleString()),
      fact("Machine", busy(status.load)), fact("Running for", since(status.up_s)),
      fact("Recognition", !status.model ? "On other devices only" : status.gives_verdicts ? "On" : "Scores only"),
      fact("Pictures", status.keeps_pictures ? "Stored" : "Not stored"), fact("Sightings are kept", keptFor(status.retention))),
    retentionNote(status.retention),
    status.load >= 1.2 && h("p", { class: "note section" }, "The machine is overloaded: answers take longer. Use fewer cameras or fewer frames per second."),
    page.pictureNote(),
    h("section", { class: "section" }, h("h2", {}, "Cameras"), troubleOf(status.pipeline),
      status.pipeline && h("p", { class: "small faint numbers" }, [workOf(status.pipeline), status.pipeline.restarts ? `restarted ${count(status.pipeline.restarts, "time")}` : ""].filter(Boolean).join(" · ")),
      status.cameras.length
      ? h("div", { class: "table-box", tabindex: "0" }, h("table", {}, h("thead", {}, h("tr", {}, ["Camera", "State", "Pictures/s", "In view", "Newest picture", "Trouble"].map((one) => h("th", { scope: "col" }, one)))),
        h("tbody", {}, status.cameras.map((one) => h("tr", {}, [one.name, STATES[one.state] ?? one.state, one.fps.toFixed(1), one.people, moment(one.last_frame_s), one.last_error || "none"].map((text) => h("td", {}, text)))))))
      : h("p", { class: "faint" }, "None.")));
  if (page.may("admin")) content.append(await auditSection());
  if (status.model) content.append(h("details", { class: "section small faint" }, h("summary", {}, "For support"), h("p", {}, `adln ${status.version}, network Res${status.model.depth}, ${status.precision}`), h("p", {}, h("code", {}, status.model.digest))));
  return content;
}

function keptFor(retention) {
  if (!retention || retention.keep_s === null) return "forever";
  return retention.keep_s < 172800 ? since(retention.keep_s) : count(Math.round(retention.keep_s / 86400), "day");
}

function retentionNote(retention) {
  if (!retention) return null;
  if (retention.problem) return h("p", { class: "error" }, `Sightings past their retention time could not be erased: ${retention.problem}`);
  const own = [...Object.entries(retention.camera_keep_s).map(([id, kept]) => `camera ${id}: ${since(kept)}`), ...Object.entries(retention.person_keep_s).map(([id, kept]) => `person ${id}: ${since(kept)}`)];
  const parts = [
    retention.max_templates !== null && `at most ${count(retention.max_templates, "sighting")} per person`,
    retention.max_unnamed !== null && `at most ${count(retention.max_unnamed, "sighting")} of unknown people`,
    ...own,
    retention.every_s ? retention.applied_s !== null && `rules last applied ${moment(retention.applied_s)}, ${count(retention.erased, "sighting")} erased since the start` : "this service does not apply the rules",
  ].filter(Boolean);
  return h("p", { class: "section small faint" }, `Kept: ${parts.join("; ")}.`);
}

async function auditSection() {
  const audit = await get("/audit?limit=50");
  return h("section", { class: "section" }, h("h2", {}, "Audit log"),
    h("p", { class: audit.is_sound ? "small faint" : "error" }, audit.is_sound
      ? `${count(audit.num_entries, "entry", "entries")}, unaltered.` : `Entry ${audit.first_broken} was altered, or an entry before it was removed.`),
    h("details", { class: "small faint" }, h("summary", {}, "Prove it later"), h("p", {}, "Store this digest elsewhere: ", h("code", {}, audit.newest_digest))),
    h("div", { class: "table-box card", tabindex: "0", role: "region", "aria-label": "Audit log" }, h("table", {}, h("thead", {}, h("tr", {}, ["When", "Who", "What", "Details"].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, audit.entries.map((entry) => h("tr", {}, h("td", {}, moment(entry.time_s)), h("td", {}, entry.actor), h("td", {}, entry.action),
        h("td", {}, detailsOf(entry.details))))))));
}

/** The details of an audit entry as text, without the number of answers listed (k). */
const detailsOf = (details) => Object.entries(details).filter(([key]) => key !== "k").map(([key, value]) => `${key.replaceAll("_", " ")} ${Array.isArray(value) ? value.join(", ") : value}`).join(", ");

function since(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}
