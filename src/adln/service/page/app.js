// The start: who is there, which view, and what all views share.

import { get, post, token, whenLoggedOut, loadPicture, follow } from "./api.js";
import { h, show, say, field, silhouette, called } from "./dom.js";
import { searchView } from "./search.js";
import { peopleView, personView } from "./people.js";
import { liveView, statusView } from "./live.js";

const main = document.getElementById("main");
const RANKS = ["viewer", "operator", "admin"];
const views = [
  [/^#\/search(?:\/(\d+))?$/, searchView, "Search"],
  [/^#\/people$/, peopleView, "People"],
  [/^#\/people\/(\d+)$/, personView, "Person"],
  [/^#\/live$/, liveView, "Live"],
  [/^#\/status$/, statusView, "Status"],
];

let session = null;
let leaving = new AbortController();

/** What a view may use of the page. */
const page = {
  may: (role) => RANKS.indexOf(session.role) >= RANKS.indexOf(role),
  status: null,
  /** A picture where one is kept, else a silhouette. */
  shot(sighting, small = false) {
    const frame = h("span", { class: small ? "shot small-shot" : "shot" });
    if (sighting.has_picture) {
      const image = h("img", { alt: `Picture of ${called(sighting.person_id, sighting.name)}` });
      frame.append(image);
      loadPicture(sighting.sighting_id, image);
    } else frame.append(silhouette(sighting.person_id));
    return frame;
  },
  /** Says what was done, with a way back if there is one. */
  done(text, undo_id) {
    say(text, undo_id && (async () => {
      try {
        await post(`/undo/${undo_id}`);
        say("Taken back.");
        open();
      } catch (error) { say(error.message); }
    }));
  },
  open,
  /** Does something again and again for as long as the view is shown. */
  every(interval_ms, work) {
    const { signal } = leaving;
    const timer = setInterval(work, interval_ms);
    signal.addEventListener("abort", () => clearInterval(timer));
  },
  follow: (onEvent, onState) => follow(onEvent, onState, leaving.signal),
};

async function open() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const hash = location.hash || "#/search";
  const [pattern, view, title] = views.find(([one]) => one.test(hash)) ?? views[0];
  document.title = `${title} · adln`;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (hash.startsWith(link.getAttribute("href"))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    page.status = await get("/status");
    const content = await view(page, ...(hash.match(pattern)?.slice(1) ?? []));
    // Somebody may have clicked on while it was loading.
    if (!signal.aborted) show(main, content);
  } catch (error) {
    if (!signal.aborted && error.status !== 401) {
      show(main, h("div", { class: "error", role: "alert" }, error.message),
        h("button", { type: "button", onclick: open }, "Try again"));
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
    begin("This token is not valid. Check that it is whole; it may have been revoked.");
  });
  show(main, h("section", { class: "login card" }, h("h1", {}, "Log in"),
    h("p", { class: "lead small" }, "Tokens were shown when the service first started. Yours is kept in this tab only."),
    message && h("p", { class: "error", role: "alert" }, message), form));
  input.focus();
}

async function begin(refusal = null) {
  try {
    session = await get("/session");
  } catch (error) {
    if (error.status !== 401) {
      show(main, h("div", { class: "error", role: "alert" }, error.message),
        h("button", { type: "button", onclick: () => begin() }, "Try again"));
      return;
    }
    token.set(null);
    logIn(refusal);
    return;
  }
  for (const part of document.querySelectorAll(".tabs, .who")) part.hidden = false;
  document.getElementById("role").textContent = session.role;
  const button = document.getElementById("log-out");
  button.hidden = !token.get();
  button.onclick = () => { token.set(null); begin(); };
  await open();
}

whenLoggedOut(() => { if (session) { token.set(null); logIn("Your token is not valid any more."); } });
window.addEventListener("hashchange", async () => {
  if (!location.hash.startsWith("#/")) return;
  if (session) {
    await open();
    window.scrollTo(0, 0);
    // Screen readers go on from the new view's title.
    main.querySelector("h1")?.focus();
  }
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
begin();
