// Cameras: add, change and remove them; set what is stored.

import { get, post, put, remove, tryCamera } from "./api.js";
import { h, show, ask, field, count, upper, STATES } from "./dom.js";
import { section, table } from "./sections.js";

const EVERY_MS = 4000;

export function cameraSection(page, answer) {
  const failed = answer instanceof Error;
  const button = failed ? null : h("button", { type: "button", class: "primary", onclick: () => addDialog(page) }, "Add a camera");
  return section("Cameras", button, failed ? h("p", { class: "error" }, answer.message) : cameraList(page, answer));
}

function cameraList(page, all) {
  if (!all.cameras.length) return h("p", { class: "faint" }, "None yet. To add one you need its stream address, which is in its manual.");
  const trouble = h("div");
  const states = new Map(all.cameras.map((one) => [one.camera_id, h("span", { class: "state" })]));
  function showStates({ cameras, pipeline }) {
    const views = new Map(cameras.map((one) => [one.camera_id, one.state]));
    for (const [id, place] of states) {
      place.className = `state ${views.get(id) ?? ""}`;
      place.textContent = views.has(id) ? STATES[views.get(id)] ?? views.get(id) : "After a restart";
    }
    show(trouble, pipeline?.state === "failed" && h("p", { class: "error" }, `The cameras are not being watched: ${pipeline.problem} The service retries automatically.`));
  }
  showStates(page.status);
  page.every(EVERY_MS, () => { if (!document.hidden) get("/status").then(showStates).catch(() => {}); });
  return [trouble, table("Cameras", ["Camera", "State", "Address", "Retention", ""], all.cameras.map((one) => [h("strong", {}, one.name), states.get(one.camera_id), h("code", {}, one.source),
    [`${upper(keptFor(one.keep_days ?? all.keep_days))}, `, one.pictures ?? all.pictures ? "with pictures" : "no pictures"].join(""),
    h("div", { class: "doing" }, h("button", { type: "button", class: "quiet", "aria-label": `Change ${one.name}`, onclick: () => changeDialog(page, one, all) }, "Change"),
      h("button", { type: "button", class: "quiet", "aria-label": `Remove ${one.name}`, onclick: () => removeDialog(page, one, all) }, "Remove"))])),
  all.applies_rules ? null : h("p", { class: "small faint below" }, "This service does not erase old sightings; run adln gallery retention to do so.")];
}

const keptFor = (days) => (days === null ? "forever" : count(days, "day"));
const withRestart = (camera, text) => (camera.is_watched ? text : `${text} Takes effect when the service restarts.`);

/** A button that fetches one picture from a camera, and the place that shows it. */
function testPicture(address, camera_id = null) {
  const image = h("img", { class: "tried", alt: "What this camera sees", hidden: true });
  const said = h("p", { class: "small", role: "status" });
  const button = h("button", { type: "button", onclick: async () => {
    button.disabled = true;
    image.hidden = true;
    said.textContent = "Asking the camera…";
    try {
      await tryCamera(address.value.trim(), image, camera_id);
      image.hidden = false;
      said.textContent = "This is the camera's picture.";
    } catch (error) { said.textContent = error.message; } finally { button.disabled = false; }
  } }, "Test picture");
  return [h("div", { class: "row" }, button, said), image];
}

const ADDRESS = { name: "source", maxlength: 1024, autocomplete: "off", spellcheck: "false" };
const HOW = "An address that begins with rtsp:// or http://, or usb:0 for a USB camera. A password in it is stored so that only the service can read it, and never shown again.";

function addDialog(page) {
  const source = h("input", { ...ADDRESS, required: true, placeholder: "rtsp://user:password@192.168.1.20/stream" });
  ask({
    title: "Add a camera",
    body: [field("Address", source), h("p", { class: "small faint" }, HOW), ...testPicture(source),
      field("Name", h("input", { name: "name", required: true, maxlength: 64, autocomplete: "off", placeholder: "hall" }))],
    submit: "Add",
    send: async (data) => {
      const camera = await post("/setup/cameras", { name: data.get("name").trim(), source: data.get("source").trim() });
      page.done(withRestart(camera, `${camera.name} ${camera.is_watched ? "is being watched" : "added"}.`));
      page.open();
    },
  });
}

function changeDialog(page, camera, all) {
  const source = h("input", { ...ADDRESS, placeholder: camera.source, "aria-describedby": "as-it-is" });
  const pictures = [["", `Default (${all.pictures ? "stored" : "not stored"})`], ["yes", "Stored and shown"], ["no", "Not stored"]];
  const now = camera.pictures === null ? "" : camera.pictures ? "yes" : "no";
  ask({
    title: `Change ${camera.name}`,
    body: [field("Name", h("input", { name: "name", required: true, maxlength: 64, autocomplete: "off", value: camera.name })),
      field("New address", source), h("p", { id: "as-it-is", class: "small faint" }, "Leave empty to keep the current address and password."), ...testPicture(source, camera.camera_id),
      h("div", { class: "fields" }, field("Pictures of people", h("select", { name: "pictures" }, pictures.map(([value, text]) => h("option", { value, selected: value === now }, text)))),
        field("Keep sightings for (days)", h("input", { name: "days", type: "number", min: 1, max: 36500, step: "any", value: camera.keep_days ?? "", placeholder: `default: ${keptFor(all.keep_days)}` }))),
      h("p", { class: "small faint" }, `${all.applies_rules ? "Older sightings are permanently erased within the hour." : "This service does not erase old sightings; run adln gallery retention to do so."} Pictures already stored stay with their sighting.`)],
    submit: "Save",
    send: async (data) => {
      const days = data.get("days").trim();
      const changed = await put(`/setup/cameras/${camera.camera_id}`, { name: data.get("name").trim(), source: data.get("source").trim() || null,
        pictures: { "": null, yes: true, no: false }[data.get("pictures")], keep_days: days ? Number(days) : null });
      page.done(withRestart(changed, `${changed.name} changed.`));
      page.open();
    },
  });
}

function removeDialog(page, camera, all) {
  if (camera.alerts.length) {
    page.done(`Alerts use ${camera.name} (${camera.alerts.join(", ")}). Remove them first.`);
    return;
  }
  const days = camera.keep_days ?? all.keep_days;
  ask({
    title: `Remove ${camera.name}?`,
    danger: true,
    body: [h("p", {}, "Its address and password are erased, and it is no longer watched."),
      h("p", {}, `Its sightings are kept ${days === null ? "forever" : `until they are ${count(days, "day")} old`}. To erase a person, use Forget on their page.`),
      h("p", { class: "small faint" }, `A camera added later with the name ${camera.name} continues this one's history.`)],
    submit: "Remove",
    send: async () => {
      page.done(withRestart(await remove(`/setup/cameras/${camera.camera_id}`), `${camera.name} removed.`));
      page.open();
    },
  });
}
