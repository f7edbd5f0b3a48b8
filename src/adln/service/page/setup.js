// Set up: cameras, who may come in, of whom nobody is told.

import { get, post, put, remove, tryCamera, showFile } from "./api.js";
import { h, show, ask, field, moment, called, count } from "./dom.js";

const ROLES = { viewer: "Viewer: looks and searches", operator: "Operator: also enrols, names, merges", admin: "Admin: also forgets, and sets up" };
const STATES = { running: "Running", connecting: "Connecting…", lost: "No picture", ended: "Ended" };

export async function setupView(page) {
  const [cameras, { tokens }, { person_ids }, { people }] = await Promise.all([get("/setup/cameras").catch((error) => error), get("/tokens"), get("/silenced"), get("/persons?limit=500")]);
  const list = h("div");
  const draw = (all) => show(list, tokenList(page, all, draw));
  draw(tokens);
  return h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Set up"), h("p", { class: "lead" }, "Cameras, and who may come in.")),
    section("Cameras", h("button", { type: "button", class: "primary", onclick: () => cameraDialog(page) }, "Add a camera"), cameraList(page, cameras)),
    section("Who may come in", h("button", { type: "button", class: "primary", onclick: () => tokenDialog(page) }, "Let somebody in"), list),
    section("Silenced", null, silencedList(page, people.filter((one) => person_ids.includes(one.person_id)))),
    section("Kept and adapted", null, keptNote(page.status)));
}

const section = (title, button, ...content) => h("section", { class: "section" }, h("div", { class: "head" }, h("h2", {}, title), button && h("div", { class: "actions" }, button)), content);

function table(label, columns, rows) {
  return h("div", { class: "table-box card", tabindex: "0", role: "region", "aria-label": label }, h("table", {},
    h("thead", {}, h("tr", {}, columns.map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one) => h("td", {}, one)))))));
}

function cameraList(page, answer) {
  if (answer instanceof Error) return h("p", { class: "error" }, answer.message);
  const { cameras } = answer;
  if (!cameras.length) return h("p", { class: "faint" }, "None yet. All that is needed is the address of one, as its maker tells it.");
  const states = new Map(page.status.cameras.map((one) => [one.camera_id, STATES[one.state] ?? one.state]));
  return table("Cameras", ["Camera", "Address", "State"], cameras.map((one) => [one.name, h("code", {}, one.source), states.get(one.camera_id) ?? "From the next start on"]));
}

function cameraDialog(page) {
  const image = h("img", { class: "tried", alt: "What this camera sees", hidden: true });
  const said = h("p", { class: "small", role: "status" });
  const source = h("input", { name: "source", required: true, maxlength: 1024, autocomplete: "off", spellcheck: "false", placeholder: "rtsp://user:password@192.168.1.20/stream" });
  const tried = h("button", { type: "button", onclick: async () => {
    tried.disabled = true;
    image.hidden = true;
    said.textContent = "Asking the camera…";
    try {
      await tryCamera(source.value.trim(), image);
      image.hidden = false;
      said.textContent = "This is what it sees.";
    } catch (error) { said.textContent = error.message; } finally { tried.disabled = false; }
  } }, "Test picture");
  ask({
    title: "Add a camera",
    body: [field("Address", source), h("p", { class: "small faint" }, "Begins with rtsp:// or http://, or is usb:0 for one that is plugged in. A password in it is stored for the service alone and never shown again."),
      h("div", { class: "row" }, tried, said), image,
      field("Name", h("input", { name: "name", required: true, maxlength: 64, autocomplete: "off", placeholder: "hall" }))],
    submit: "Add",
    send: async (data) => {
      const camera = await post("/setup/cameras", { name: data.get("name").trim(), source: data.get("source").trim() });
      page.done(camera.is_watched ? `${camera.name} is being watched.` : `${camera.name} is added; it is watched from the next start of the service on.`);
      page.open();
    },
  });
}

function tokenList(page, tokens, draw) {
  const valid = tokens.filter((one) => one.revoked_s === null);
  const gone = tokens.length - valid.length;
  if (!valid.length) return h("p", { class: "faint" }, "Nobody has a token. On this machine none is asked for.");
  return [table("Tokens", ["Whose", "Role", "Since", ""], valid.map((one) => [one.name, one.role, moment(one.created_s),
    h("button", { type: "button", class: "quiet", "aria-label": `Revoke the token of ${one.name}`, onclick: () => ask({
      title: `Let ${one.name} in no more?`,
      danger: true,
      body: [h("p", {}, "Their token is worthless at once, and cannot be made valid again.")],
      submit: "Revoke",
      send: async () => { draw((await remove(`/tokens/${one.token_id}`)).tokens); page.done(`The token of ${one.name} is revoked.`); },
    }) }, "Revoke")])),
  gone ? h("p", { class: "small faint" }, `${count(gone, "token")} revoked.`) : null];
}

function tokenDialog(page) {
  ask({
    title: "Let somebody in",
    body: [field("Name", h("input", { name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9 ._@\\-]+", title: "Letters, digits, spaces and . _ @ -", autocomplete: "off" })),
      field("Role", h("select", { name: "role" }, Object.entries(ROLES).map(([value, text]) => h("option", { value }, text))))],
    submit: "Make a link",
    send: async (data, dialog) => {
      const made = await post("/tokens", { name: data.get("name").trim(), role: data.get("role") });
      dialog.dataset.stays = "yes";
      dialog.addEventListener("close", () => page.open());
      show(dialog, handOver(data.get("name").trim(), made, dialog));
      dialog.querySelector("button").focus();
    },
  });
}

/** The new token, to be scanned or copied; it is nowhere else. */
function handOver(name, made, dialog) {
  const image = h("img", { class: "code", alt: "QR code of the link" });
  showFile(new Blob([made.qr_svg], { type: "image/svg+xml" }), image);
  const link = h("input", { value: made.link, readonly: true, "aria-label": "Link", onfocus: (event) => event.target.select() });
  return h("div", { class: "stack" }, h("h2", { id: "dialog-title" }, `For ${name}`),
    made.is_reachable ? h("p", {}, "Point the phone's camera at it, or send the link. Whoever has it may come in; it is shown this once.")
      : h("p", { class: "note" }, "The link works on this machine only: the service listens to no other. Start it with --host 0.0.0.0 and a certificate to let a phone in."),
    image, link, h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Done")));
}

function silencedList(page, people) {
  if (!people.length) return h("p", { class: "faint" }, "Nobody. Whoever is silenced on their page is recognised, but nobody is told.");
  return h("ul", { class: "rows" }, people.map((one) => h("li", {}, h("a", { href: `#/people/${one.person_id}` }, called(one.person_id, one.name)),
    h("button", { type: "button", class: "quiet", onclick: async () => {
      try { await put(`/persons/${one.person_id}/silence`, { silent: false }); } catch (error) { page.done(error.message); }
      page.open();
    } }, "Tell again"))));
}

function keptNote({ keeps_pictures, gives_verdicts, model, retention }) {
  const days = retention?.keep_s ? count(Math.max(1, Math.round(retention.keep_s / 86400)), "day") : "for ever";
  const row = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
  return h("dl", { class: "facts" }, row("Pictures", keeps_pictures ? "kept" : "not kept"), row("Sightings are kept", days),
    row("Calibration", !model ? "by boxes only" : gives_verdicts ? "Yes" : "Missing: scores only"));
}
