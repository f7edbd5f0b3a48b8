// A moment: one visit with all its pictures, the visits before and after, and who else was there.

import { get } from "./api.js";
import { h, called, count, dayName, midnight, moment, span, upper } from "./dom.js";
import { visitCards } from "./visits.js";

export async function momentView(page, sighting_id) {
  const { visit, sightings, before, after, around } = await get(`/moments/${sighting_id}`);
  const name = called(visit.person_id, visit.name);
  const asked = sightings.find((one) => one.sighting_id === Number(sighting_id)) ?? sightings.at(-1);
  const place = h("div", { class: "stage-shot" });
  const when = h("p", { class: "numbers small" });
  const buttons = new Map();
  let shown = asked;

  function draw() {
    place.replaceChildren(page.picture(shown.has_picture ? shown.sighting_id : null, `${name} at ${visit.camera_name}, ${moment(shown.time_s)}`, "huge"));
    when.textContent = `${moment(shown.time_s)}, picture ${sightings.indexOf(shown) + 1} of ${sightings.length}`;
    for (const [one, button] of buttons) button.setAttribute("aria-pressed", String(one === shown));
  }
  const go = (by) => { shown = sightings[(sightings.indexOf(shown) + by + sightings.length) % sightings.length]; draw(); };
  for (const one of sightings) {
    buttons.set(one, h("button", { type: "button", class: "frame-pick", "aria-label": `Picture of ${moment(one.time_s)}`, onclick: () => { shown = one; draw(); } }, page.picture(one.has_picture ? one.sighting_id : null, name, "small-shot", { enlarges: false })));
  }
  draw();
  page.keys({ ArrowLeft: () => go(-1), ArrowRight: () => go(1) });
  const step = (one, text) => one && h("a", { class: "button", href: `#/moment/${one.sighting_id}` }, h("span", { class: "name" }, text), h("span", { class: "faint" }, ` ${one.camera_name}, ${midnight(one.last_s) === midnight(visit.last_s) ? span(one.first_s, one.last_s) : moment(one.last_s)}`));
  return h("div", {},
    h("p", { class: "small" }, h("a", { class: "back", href: "#/follow", onclick: (event) => { if (history.length > 1) { event.preventDefault(); history.back(); } } }, "← Back")),
    h("div", { class: "head section" }, h("h1", { tabindex: "-1" }, `${name} at ${visit.camera_name}`),
      h("p", { class: "lead" }, `${upper(dayName(visit.last_s))} ${span(visit.first_s, visit.last_s)}, ${count(visit.sightings, "sighting")}`)),
    page.pictureNote(),
    h("section", { class: "card moment" }, place, h("div", { class: "text" }, when,
      sightings.length > 1 ? h("div", { class: "looks" }, [...buttons.values()]) : null,
      h("div", { class: "actions" },
        visit.person_id === null ? null : h("a", { class: "button primary", href: `#/people/${visit.person_id}` }, `Follow ${name}`),
        h("a", { class: visit.person_id === null ? "button primary" : "button", href: `#/search/${asked.sighting_id}` }, visit.person_id === null ? "Who is it?" : "More like this")),
      before || after ? h("div", { class: "actions" }, step(before, "← Before:"), step(after, "Next →")) : null)),
    h("section", { class: "section" }, h("h2", {}, "Who else was there"),
      around.length ? visitCards(page, around, { days: false }) : h("p", { class: "faint" }, `No one else at any camera, from two minutes before to two minutes after ${span(visit.first_s, visit.last_s)}.`)));
}
