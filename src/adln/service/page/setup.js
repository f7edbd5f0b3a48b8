// Set up: cameras, alerts, access, silenced people, and the state of recognition.

import { everyName, get, post, put, remove, showFile } from "./api.js";
import { h, show, ask, field, moment, called, count } from "./dom.js";
import { cameraSection } from "./cameras.js";
import { alertSection } from "./alerts.js";
import { checkSection } from "./check.js";
import { section, table } from "./sections.js";

const ROLES = { viewer: "Viewer: views and searches", operator: "Operator: also enrols, names, merges", admin: "Admin: also forgets and sets up" };

export async function setupView(page) {
  const orError = (path) => get(path).catch((error) => error);
  const [cameras, alerts, check, { tokens }, { people: silenced }, names] = await Promise.all([orError("/setup/cameras"), orError("/setup/alerts"), get("/setup/check"), get("/tokens"), get("/silenced"), everyName()]);
  const list = h("div");
  const draw = (all) => show(list, tokenList(page, all, draw));
  draw(tokens);
  return h("div", { class: "setup" },
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Set up"), h("p", { class: "lead" }, "Cameras, alerts and access."),
      h("div", { class: "actions" }, h("a", { class: "button", href: "#/enrol" }, "Enrol a person"))),
    cameraSection(page, cameras),
    alertSection(page, alerts, cameras, names),
    section("Access", h("button", { type: "button", class: "primary", onclick: () => tokenDialog(page) }, "Add a user"), list),
    section("Silenced", null, silencedList(page, silenced)),
    checkSection(check));
}

function tokenList(page, tokens, draw) {
  const valid = tokens.filter((one) => one.revoked_s === null);
  const gone = tokens.length - valid.length;
  if (!valid.length) return h("p", { class: "faint" }, "There are no tokens. On this machine none is required.");
  return [table("Tokens", ["User", "Role", "Since", ""], valid.map((one) => [h("strong", {}, one.name), ROLES[one.role].split(":")[0], moment(one.created_s),
    h("button", { type: "button", class: "quiet", "aria-label": `Revoke the token of ${one.name}`, onclick: () => ask({
      title: `Revoke the access of ${one.name}?`,
      danger: true,
      body: [h("p", {}, "Their token stops working immediately and cannot be restored.")],
      submit: "Revoke",
      send: async () => { draw((await remove(`/tokens/${one.token_id}`)).tokens); page.done(`Access of ${one.name} revoked.`); },
    }) }, "Revoke")])),
  gone ? h("p", { class: "small faint below" }, `${count(gone, "token")} revoked.`) : null];
}

function tokenDialog(page) {
  ask({
    title: "Add a user",
    body: [field("Name", h("input", { name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9 ._@\\-]+", title: "Letters, digits, spaces and . _ @ -", autocomplete: "off" })),
      field("Role", h("select", { name: "role" }, Object.entries(ROLES).map(([value, text]) => h("option", { value }, text))))],
    submit: "Create a link",
    send: async (data, dialog) => {
      const made = await post("/tokens", { name: data.get("name").trim(), role: data.get("role") });
      dialog.dataset.stays = "yes";
      dialog.addEventListener("close", () => page.open());
      show(dialog, handOver(data.get("name").trim(), made, dialog));
      dialog.querySelector("button").focus();
    },
  });
}

/** The new token as a QR code and a link; it is shown only here. */
function handOver(name, made, dialog) {
  const image = h("img", { class: "code", alt: "QR code of the link" });
  showFile(new Blob([made.qr_svg], { type: "image/svg+xml" }), image);
  const link = h("input", { value: made.link, readonly: true, "aria-label": "Link", onfocus: (event) => event.target.select() });
  return h("div", { class: "stack" }, h("h2", { id: "dialog-title" }, `For ${name}`),
    made.is_reachable ? h("p", {}, "Scan the code with the phone, or send the link. Anyone with the link has access; it is shown only once.")
      : h("p", { class: "note" }, "The link works on this machine only, because the service listens locally. For access from a phone, start it with --host 0.0.0.0 and a certificate."),
    image, link, h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Done")));
}

function silencedList(page, people) {
  if (!people.length) return h("p", { class: "faint" }, "No one. Silenced people are still recognised, but not reported. Silence a person on their page.");
  return table("Silenced", ["Who", ""], people.map((one) => [h("a", { href: `#/people/${one.person_id}` }, called(one.person_id, one.name)),
    h("button", { type: "button", class: "quiet", onclick: async () => {
      try { await put(`/persons/${one.person_id}/silence`, { silent: false }); } catch (error) { page.done(error.message); }
      page.open();
    } }, "Stop silencing")]));
}
