// The start page: what happened since the last look, with links to each part.

import { get, post } from "./api.js";
import { h, show, called, count, empty, moment } from "./dom.js";
import { dropZone } from "./search.js";

const SHOWN = 8;

export async function startView(page) {
  const place = h("div");
  const head = h("p", { class: "lead", "aria-live": "polite" });
  const seen = h("button", { type: "button", onclick: async () => { draw(await post("/news", { seen: true })); page.done("Marked as seen."); } }, "Mark all as seen");
  const review = h("div");

  function draw(news) {
    head.textContent = sinceWhen(news);
    const cards = [newPeople(page, news), seenPeople(page, news), unnamed(news), silent(news)].filter(Boolean);
    seen.hidden = !cards.length;
    show(place, cards.length ? h("div", { class: "news" }, cards)
      : empty("Nothing new", news.is_first ? "No one was seen in the last day, and no camera is offline." : `No one was seen since ${moment(news.since_s)}, and no camera was offline.`,
        h("div", { class: "row" }, h("a", { class: "button", href: "#/follow" }, "See earlier days"), !page.status.people && page.may("operator") && h("a", { class: "button primary", href: "#/enrol" }, "Enrol a person"))));
  }

  draw(await post("/news"));
  const search = (file) => { page.handed = file; location.hash = "#/search"; };
  page.on(document, "paste", (event) => { const file = event.clipboardData.files[0]; if (file) search(file); });
  // The review queue takes a while to compute; the page does not wait for it.
  if (page.may("operator")) get("/review").then(({ items }) => { page.waiting(items.length); show(review, toReview(page, items)); }).catch(() => {});
  return h("div", {},
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "What is new"), head, h("div", { class: "actions" }, seen)),
    review, place,
    h("section", { class: "section" }, h("h2", {}, "Search with a picture"), dropZone(true, search)));
}

function sinceWhen({ since_s, whose, is_first, is_cut }) {
  if (is_first) return "In the last day. Next time: since your last look.";
  if (is_cut) return `In the last seven days; ${whose === "token" ? "your" : "the"} last look was before that.`;
  return whose === "token" ? `Since your last look, ${moment(since_s)}.` : `Since the last look on this machine, ${moment(since_s)}.`;
}

const card = (title, href, label, ...content) => h("section", { class: "card" }, h("div", { class: "row" }, h("h2", {}, title), h("a", { class: "way", href }, label)), content);

const face = (page, id, name, text, picture_id) => h("li", {}, page.picture(picture_id, name, "small-shot"),
  h("div", { class: "text" }, h("a", { href: `#/people/${id}` }, name), h("p", { class: "small faint" }, text)));

const rest = (number) => number > 0 && h("p", { class: "small faint" }, `and ${number.toLocaleString()} more`);

function newPeople(page, { new_people, num_new_people }) {
  if (!num_new_people) return null;
  return card(count(num_new_people, "new person", "new people"), "#/people", "All people",
    h("ul", { class: "faces" }, new_people.slice(0, SHOWN).map((one) => face(page, one.person_id, called(one.person_id, one.name), one.num_sightings ? `last ${moment(one.last_seen_s)}` : "not seen yet", one.picture_ids[0] ?? null))),
    rest(num_new_people - Math.min(SHOWN, new_people.length)));
}

function seenPeople(page, { seen, is_all }) {
  if (!seen.length) return null;
  return card(`${count(seen.length, "person", "people")} with a name ${seen.length === 1 ? "was" : "were"} seen`, "#/follow/named", "Their visits",
    h("ul", { class: "faces" }, seen.slice(0, SHOWN).map(({ latest, visits }) => face(page, latest.person_id, called(latest.person_id, latest.name), `${count(visits, "visit")}, last ${moment(latest.last_s)} at ${latest.camera_name}`, latest.picture_id))),
    rest(seen.length - SHOWN), is_all ? null : h("p", { class: "small faint" }, "There were more visits than are counted here."));
}

function unnamed({ unnamed_visits, nobody_visits }) {
  if (!unnamed_visits && !nobody_visits) return null;
  const parts = [unnamed_visits && h("a", { class: "button", href: "#/follow/unnamed" }, `${count(unnamed_visits, "visit")} of people without a name`),
    nobody_visits && h("a", { class: "button", href: "#/follow/nobody" }, `${count(nobody_visits, "visit")} of unknown people`)];
  return card("Without a name", "#/follow", "All visits", h("div", { class: "row" }, parts.filter(Boolean)));
}

function silent({ silences }) {
  if (!silences.length) return null;
  return card(`${count(new Set(silences.map((one) => one.camera_id)).size, "camera")} offline`, "#/live", "Cameras",
    h("ul", { class: "silences" }, silences.slice(0, SHOWN).map((one) => h("li", {}, h("span", { class: `state ${one.until_s === null ? "lost" : "running"}` }, h("strong", {}, one.camera_name)),
      h("span", { class: "faint numbers" }, one.until_s === null ? `no picture since ${moment(one.from_s)}` : `no picture ${moment(one.from_s)} to ${moment(one.until_s)}`)))),
    rest(silences.length - SHOWN));
}

function toReview(page, items) {
  if (!items.length) return null;
  const kinds = [["unnamed", "without a name"], ["group", "not enrolled yet"], ["merge", "possibly the same person"], ["strange", "possibly someone else"]]
    .map(([kind, text]) => [items.filter((one) => one.kind === kind).length, text]).filter(([number]) => number);
  return h("section", { class: "card to-review" }, h("div", {}, h("h2", {}, `${items.length}${items.length >= 100 ? " or more" : ""} to review`), h("p", { class: "small faint" }, kinds.map(([number, text]) => `${number} ${text}`).join(", "))),
    h("a", { class: "button primary", href: "#/review" }, "Review"));
}
