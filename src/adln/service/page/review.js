// Review: decisions that need a person, one at a time, by mouse or keyboard.

import { asShown, everyName, findPerson, get, post, put } from "./api.js";
import { h, show, ask, field, moment, called, count, empty } from "./dom.js";
import { cameraName } from "./search.js";

const KINDS = { merge: "Possibly the same person", strange: "Possibly someone else", unnamed: "Has no name", group: "Not enrolled yet" };

export async function reviewView(page) {
  const [{ items, left_out }, names] = await Promise.all([get("/review"), everyName()]);
  const place = h("div");
  const bar = h("progress", { max: items.length, value: 0, "aria-label": "Decided" });
  const progress = h("p", { class: "lead", "aria-live": "polite" });
  const total = items.length;
  let queue = [...items];
  let at = 0;
  let busy = false;

  function draw() {
    page.waiting(queue.length);
    bar.value = total - queue.length;
    progress.textContent = total ? `${total - queue.length} of ${total} decided` : "";
    bar.hidden = !total;
    at = Math.max(0, Math.min(at, queue.length - 1));
    if (!queue.length) {
      show(place, empty(total ? "All done" : "Nothing to review", total ? "No decisions are left." : "People who are not clearly recognised, have no name, or may be duplicates appear here.",
        h("a", { class: "button", href: "#/follow" }, "See who was where")));
      return;
    }
    show(place, card(queue[at]));
  }

  /** Carries out a decision and removes the item; undo brings it back. What somebody else has decided meanwhile (412, 404) goes, too. */
  async function decide(item, text, work) {
    if (busy) return;
    busy = true;
    const where = queue.indexOf(item);
    try {
      const done = await work();
      // Other items about a person who no longer exists are dropped, too.
      const before = [...queue];
      const gone = done.gone ?? null;
      queue = queue.filter((one) => one !== item && (gone === null || (one.person?.person_id !== gone && one.other?.person_id !== gone)));
      // Those who have another name by this decision have it in the items that are left.
      if (done.named) queue = queue.map((one) => ({ ...one, person: renamed(one.person, done.named), other: renamed(one.other, done.named) }));
      at = where;
      draw();
      page.done(text, done.undo_id, () => { queue = before; at = where; draw(); });
    } catch (error) {
      if (error.status === 404 || error.status === 412) {
        queue = queue.filter((one) => one !== item);
        at = where;
        draw();
      }
      page.done(error.message);
    } finally { busy = false; }
  }

  const renamed = (person, [person_id, name]) => person?.person_id === person_id ? { ...person, name } : person;
  /** Merges one person into another, both as they are shown. */
  const join = async (goes, stays) => ({ ...await post(`/persons/${stays.person_id}/merge`, { person_ids: [goes.person_id], expected: asShown(goes, stays) }),
    gone: goes.person_id, named: [stays.person_id, stays.name ?? goes.name] });
  /** Assigns an item's sightings to a person; they must still be assigned as the item says. */
  const give = (item, person_id) => post(`/persons/${person_id}/sightings`, { sighting_ids: item.sighting_ids, expected_owner: item.person?.person_id ?? null });

  const actions = {
    merge: (item) => {
      if (!item.other) return;
      const [stays, goes] = item.kind === "merge" ? [item.person, item.other] : [item.other, item.person];
      const name = called(stays.person_id, stays.name);
      if (item.kind === "strange") return;
      if (item.kind === "group") { decide(item, `Added to ${name}.`, () => give(item, stays.person_id)); return; }
      decide(item, `Merged into ${name}.`, () => join(goes, stays));
    },
    accept: (item) => {
      if (item.kind !== "strange") { actions.merge(item); return; }
      decide(item, `It is ${called(item.other.person_id, item.other.name)}.`, () => give(item, item.other.person_id));
    },
    aside: (item) => {
      if (item.kind === "strange") decide(item, "Set aside: it is assigned to no one.", () => post("/review/set-aside", { sighting_ids: item.sighting_ids }));
    },
    ignore: (item) => decide(item, item.kind === "merge" ? "Kept as two people." : item.kind === "strange" ? "Kept as it is." : "This will not be asked again.", () => post("/review/ignore", { key: item.key })),
    name: (item) => { if (item.kind === "unnamed" || item.kind === "group") nameDialog(item); },
  };

  function nameDialog(item) {
    const list = h("datalist", { id: "known-names" }, names.map((name) => h("option", { value: name })));
    ask({
      title: "Who is it?",
      body: [field("Name", h("input", { name: "name", maxlength: 200, required: true, autocomplete: "off", list: "known-names" })), list,
        h("p", { class: "small faint" }, "If a person with this name exists, the sightings are added to them.")],
      submit: "Save",
      send: async (data) => {
        const name = data.get("name").trim().replace(/\s+/g, " ");
        const known = await findPerson(name);
        await decideOrThrow(item, known ? `Added to ${name}.` : `Named ${name}.`, async () => {
          names.push(name);
          if (item.kind !== "unnamed") return give(item, (known ?? await post("/persons", { name })).person_id);
          if (known) return join(item.person, known);
          return { ...await put(`/persons/${item.person.person_id}/name`, { name, expected: asShown(item.person) }), named: [item.person.person_id, name] };
        });
      },
    });
  }

  async function decideOrThrow(item, text, work) {
    let failed = null;
    await decide(item, text, async () => {
      try { return await work(); } catch (error) { failed = error; throw error; }
    });
    if (failed) throw failed;
  }

  const go = (by) => { at = (at + by + queue.length) % Math.max(1, queue.length); draw(); };
  const now = (work) => () => { if (queue[at]) work(queue[at]); };
  page.keys({ j: () => go(1), k: () => go(-1), a: now(actions.accept), m: now(actions.accept), n: now(actions.name), s: now(actions.aside), x: now(actions.ignore) });

  function card(item) {
    const button = (key, text, work, primary = false) => h("button", { type: "button", class: primary ? "primary" : "", "aria-keyshortcuts": key, onclick: () => work(item) }, text, h("kbd", { "aria-hidden": "true" }, key));
    const other = item.other && called(item.other.person_id, item.other.name);
    const name = item.person && called(item.person.person_id, item.person.name);
    const question = { merge: "Are these the same person?", strange: `Is this ${other}, not ${name}?`, unnamed: other ? `Is this ${other}?` : "Who is this?", group: other ? `Is this ${other}?` : "Who is this?" }[item.kind];
    const buttons = {
      merge: () => [button("m", "Same person", actions.merge, true), button("x", "Different people", actions.ignore)],
      strange: () => [button("a", `It is ${other}`, actions.accept, true), button("s", "Set aside", actions.aside), button("x", `It is ${name}`, actions.ignore)],
      unnamed: () => [other && button("m", `It is ${other}`, actions.merge, true), button("n", other ? "Someone else" : "Name", actions.name, !other), button("x", "Ignore", actions.ignore)],
      group: () => [other && button("m", `It is ${other}`, actions.merge, true), button("n", other ? "Someone else" : "Name", actions.name, !other), button("x", "Ignore", actions.ignore)],
    }[item.kind]();
    const asked = side(page, item.kind === "merge" || item.kind === "unnamed" ? name : item.kind === "strange" ? "This sighting" : "Seen, not enrolled", item.kind === "merge" ? item.person : item,
      item.kind === "merge" ? item.person.picture_ids : item.picture_ids, item.kind === "strange" ? `assigned to ${name}` : "");
    return h("section", { class: "card review", "aria-label": "Decision" },
      h("div", { class: "row" }, h("span", { class: "verdict scored" }, KINDS[item.kind]), item.likeness === null ? null : h("span", { class: "small faint likeness" }, likeness(item.likeness)),
        h("span", { class: "steps small faint" }, h("button", { type: "button", class: "tool", "aria-label": "Previous", onclick: () => go(-1) }, "‹"), `${at + 1} / ${queue.length}`, h("button", { type: "button", class: "tool", "aria-label": "Next", onclick: () => go(1) }, "›"))),
      h("h2", {}, question),
      h("div", { class: item.kind === "strange" ? "sides two three" : item.other ? "sides two" : "sides" }, asked, item.other && side(page, other, item.other, item.other.picture_ids),
        item.kind === "strange" && side(page, name, item.person, item.person.picture_ids.filter((one) => !item.sighting_ids.includes(one)))),
      h("div", { class: "actions" }, buttons));
  }

  draw();
  return h("div", { class: "reviewing" },
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Review"), progress, bar),
    left_out && h("p", { class: "note" }, left_out), page.pictureNote(), place,
    h("p", { class: "hints small faint" }, h("kbd", {}, "j"), " next ", h("kbd", {}, "k"), " previous ", h("kbd", {}, "a"), " accept ", h("kbd", {}, "u"), " undo"));
}

/** A similarity in words: a number would be taken for a probability. */
const likeness = (cosine) => cosine >= 0.9 ? "very similar" : cosine >= 0.75 ? "similar" : "somewhat similar";

function side(page, title, about, picture_ids, more = "") {
  const cameras = about.cameras.map((one) => cameraName(page, one));
  const [first = null, ...others] = picture_ids;
  return h("div", { class: "side" }, h("div", { class: "looks" }, page.picture(first, title, "large"), others.length ? h("div", { class: "others" }, others.map((one) => page.picture(one, title))) : null),
    h("div", { class: "text" }, h("h3", {}, about.name !== undefined && about.person_id !== undefined ? h("a", { href: `#/people/${about.person_id}` }, title) : title),
      h("p", { class: "small faint" }, [count(about.num_sightings, "sighting"), more].filter(Boolean).join(", ")),
      h("p", { class: "small faint" }, about.last_seen_s === null ? "not seen yet" : `${about.num_sightings === 1 ? "" : "last "}${moment(about.last_seen_s)}`),
      cameras.length ? h("p", { class: "small faint" }, `${cameras.slice(0, 3).join(", ")}${cameras.length > 3 ? ` and ${cameras.length - 3} more` : ""}`) : null));
}
