// Entry point: login, routing, and what all views share.

import { get, post, token, whenLoggedOut, loadPicture, follow } from "./api.js";
import { h, show, say, field, silhouette } from "./dom.js";
import { startView } from "./start.js";
import { searchView } from "./search.js";
import { peopleView, personView } from "./people.js";
import { reviewView } from "./review.js";
import { followView } from "./follow.js";
import { momentView } from "./moment.js";
import { liveView, statusView } from "./live.js";
import { setupView } from "./setup.js";
import { enrolView } from "./enrol.js";

const main = document.getElementById("main");
// "Loading…" appears only after this delay.
const SLOW_MS = 400;
const RANKS = ["viewer", "operator", "admin"];
const views = [
  [/^#\/start$/, startView, "What is new"],
  [/^#\/search(?:\/(\d+))?$/, searchView, "Search"],
  [/^#\/people$/, peopleView, "People"],
  [/^#\/people\/(\d+)$/, personView, "Person"],
  [/^#\/review$/, reviewView, "Review"],
  [/^#\/follow(?:\/(\w+))?$/, followView, "Follow"],
  [/^#\/moment\/(\d+)$/, momentView, "Moment"],
  [/^#\/live$/, liveView, "Live"],
  [/^#\/status$/, statusView, "Status"],
  [/^#\/setup$/, setupView, "Set up"],
  [/^#\/enrol$/, enrolView, "Enrol a person"],
];

let session = null;
let leaving = new AbortController();
let status = null;
let handed = null;

/** What the page offers to its views; each gets what `pageOf` adds. */
const page = {
  may: (role) => RANKS.indexOf(session.role) >= RANKS.indexOf(role),
  /** What the service said of itself when the view was opened. */
  get status() { return status; },
  /** A picture for the search view to search for. */
  get handed() { return handed; },
  set handed(file) { handed = file; },
  /** The stored picture of a sighting, or a silhouette if there is none; enlarges when clicked. */
  picture(sighting_id, caption, size = "", { enlarges = true } = {}) {
    if (sighting_id === null) return h("span", { class: `shot ${size}` }, silhouette());
    const image = h("img", { alt: enlarges ? "" : `Picture of ${caption}` });
    loadPicture(sighting_id, image, silhouette());
    if (!enlarges) return h("span", { class: `shot ${size}` }, image);
    return h("button", { type: "button", class: `shot zoom ${size}`, "aria-label": `Enlarge the picture of ${caption}`, onclick: () => enlarge(sighting_id, caption) }, image);
  },
  /** How to turn pictures on, if none are kept. */
  pictureNote: () => status.keeps_pictures || status.cameras.some((one) => one.pictures && status.pipeline?.pictures) ? null : h("p", { class: "note quiet-note" }, "No pictures are stored, so people are shown without faces. To store small pictures from now on, start the service with ", h("code", {}, "--keep-pictures"), ", or turn them on for a camera in Set up."),
  /** Reports what was done, with an undo if there is one. */
  done(text, undo_id, back = open) {
    say(text, undo_id && (async () => {
      try {
        await post(`/undo/${undo_id}`);
        say("Undone.");
        back();
      } catch (error) { say(error.message); }
    }));
  },
  /** Shows the number of pending reviews. */
  waiting(number) {
    const place = document.getElementById("waiting");
    place.hidden = !number;
    place.textContent = number > 99 ? "99+" : number;
  },
  open,
};

/** The page of one view: what it starts ends when `signal` aborts, also if it was left while it was still loading. */
function pageOf(signal) {
  const on = (target, kind, work) => target.addEventListener(kind, work, { signal });
  return Object.assign(Object.create(page), {
    /** Listens for as long as the view is shown. */
    on,
    /** Keyboard shortcuts of a view (key -> action); inactive in text fields and dialogs. */
    keys: (map) => on(document, "keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
      if (document.querySelector("dialog[open]")) return;
      const work = map[event.key];
      if (work) { event.preventDefault(); work(); }
    }),
    /** Repeats something for as long as the view is shown. */
    every(interval_ms, work) {
      if (signal.aborted) return;
      const timer = setInterval(work, interval_ms);
      signal.addEventListener("abort", () => clearInterval(timer));
    },
    follow: (onEvent, onState) => follow(onEvent, onState, signal),
  });
}

function enlarge(sighting_id, caption) {
  const image = h("img", { alt: `Picture of ${caption}` });
  loadPicture(sighting_id, image);
  const dialog = h("dialog", { class: "enlarged", "aria-label": caption, onclick: () => dialog.close(), onclose: () => dialog.remove() },
    image, h("p", {}, caption), h("button", { type: "button" }, "Close"));
  document.body.append(dialog);
  dialog.showModal();
}

async function open() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const hash = location.hash || "#/start";
  const [pattern, view, title] = views.find(([one]) => one.test(hash)) ?? views[0];
  document.title = `${title} · adln`;
  for (const link of document.querySelectorAll(".brand, .tabs a, .who a")) {
    if (hash.startsWith(link.getAttribute("href"))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const waiting = setTimeout(() => { if (!signal.aborted) show(main, h("p", { class: "loading", role: "status" }, "Loading…")); }, SLOW_MS);
  try {
    status = await get("/status");
    const content = await view(pageOf(signal), ...(hash.match(pattern)?.slice(1) ?? []));
    // Another view may have been opened in the meantime.
    clearTimeout(waiting);
    if (!signal.aborted) show(main, content);
  } catch (error) {
    clearTimeout(waiting);
    if (!signal.aborted && error.status !== 401) {
      show(main, h("h1", { tabindex: "-1" }, error.status === 404 ? "This no longer exists" : "This could not be shown"),
        h("div", { class: "error", role: "alert" }, error.message),
        h("div", { class: "row" }, h("button", { type: "button", onclick: open }, "Try again"), h("a", { class: "button", href: "#/start" }, "Start page"), history.length > 1 && h("button", { type: "button", onclick: () => history.back() }, "Back")));
    }
  }
}

function logIn(message = null) {
  leaving.abort();
  session = null;
  for (const part of document.querySelectorAll(".tabs, .who")) part.hidden = true;
  document.title = "Log in · adln";
  const input = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", spellcheck: "false", placeholder: "adln_…" });
  const form = h("form", {}, field("Token", input), h("button", { class: "primary", type: "submit" }, "Log in"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token.set(input.value.trim());
    begin("This token is not valid. Check that it is complete; it may have been revoked.");
  });
  show(main, h("section", { class: "login card" }, h("h1", {}, "Log in"),
    h("p", { class: "lead small" }, "Tokens are shown when the service first starts. Yours is stored in this tab only."),
    message && h("p", { class: "error", role: "alert" }, message), form));
  input.focus();
}

async function begin(refusal = null) {
  try {
    session = await get("/session");
  } catch (error) {
    if (error.status !== 401) {
      show(main, h("h1", {}, "The service is not reachable"), h("div", { class: "error", role: "alert" }, error.message),
        h("button", { type: "button", onclick: () => begin() }, "Try again"));
      return;
    }
    token.set(null);
    logIn(refusal);
    return;
  }
  for (const part of document.querySelectorAll(".tabs, .who")) part.hidden = false;
  document.getElementById("role").textContent = session.token_required ? session.role : "";
  document.querySelector(".tabs a[href='#/review']").hidden = !page.may("operator");
  document.querySelector(".who a[href='#/setup']").hidden = !page.may("admin");
  const button = document.getElementById("log-out");
  button.hidden = !token.get();
  button.onclick = () => { token.set(null); begin(); };
  await open();
  if (page.may("operator") && location.hash && !/^#\/(review|start)/.test(location.hash)) get("/review").then(({ items }) => page.waiting(items.length)).catch(() => {});
}

document.addEventListener("keydown", (event) => {
  if (event.key === "u" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("input, select, textarea, dialog")) document.querySelector("#toasts .undo")?.click();
});
whenLoggedOut(() => { if (session) { token.set(null); logIn("Your token is no longer valid."); } });
/** Stores the token of a login link in this tab and removes it from the address. */
function takeToken() {
  const found = location.hash.match(/^#token=(adln_[\w-]+)$/);
  if (!found) return false;
  token.set(found[1]);
  history.replaceState(null, "", "/");
  return true;
}

window.addEventListener("hashchange", async () => {
  if (takeToken()) { begin("This link is no longer valid; ask for a new one."); return; }
  if (!location.hash.startsWith("#/")) return;
  if (session) {
    await open();
    window.scrollTo(0, 0);
    // Screen readers continue at the new view's title.
    main.querySelector("h1")?.focus();
  }
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
begin(takeToken() ? "This link is no longer valid; ask for a new one." : null);
