// Visits (who was at which camera, from when to when) as cards, as a timeline, and as a file.

import { pictureData } from "./api.js";
import { h, show, called, count, clockOf, dayName, dayOf, span, midnight, download, upper } from "./dom.js";

const STEPS = [60, 300, 900, 1800, 3600, 10800, 21600, 86400, 7 * 86400, 30 * 86400, 365 * 86400];
const SHORTEST_S = 600;
const MOST_SAVED = 200;
const MOST_ROWS = 5;
const FINE_S = 10800;
const LEAST_SHOWN_S = 21600;

export const kindOf = (visit) => visit.person_id === null ? "nobody" : visit.name === null ? "unnamed" : "named";

/** Visits as cards grouped by day, newest first. */
export function visitCards(page, visits, { who = true, days = true } = {}) {
  let day = null;
  return h("ol", { class: "visit-list" }, visits.flatMap((one) => {
    const head = !days || dayOf(one.last_s) === day ? [] : [h("li", { class: "day" }, h("h3", {}, headOf(one.last_s)))];
    day = dayOf(one.last_s);
    const name = called(one.person_id, one.name);
    const title = !who ? h("strong", {}, one.camera_name)
      : one.person_id === null ? h("strong", {}, name) : h("a", { href: `#/people/${one.person_id}` }, name);
    return [...head, h("li", { class: "visit-card" }, page.picture(one.picture_id, who ? name : `${name} at ${one.camera_name}`),
      h("div", { class: "text" }, title, h("p", { class: "numbers" }, h("a", { class: "whole-card", href: `#/moment/${one.sighting_id}` }, h("span", { class: "unseen" }, `${name} at ${one.camera_name}, `), span(one.first_s, one.last_s))),
        h("p", { class: "small faint" }, [who && one.camera_name, count(one.sightings, "sighting")].filter(Boolean).join(", ")),
        who && one.person_id === null && one.picture_id && h("a", { class: "small", href: `#/search/${one.picture_id}` }, "Who is it?")))];
  }));
}

const headOf = (time_s) => upper(dayName(time_s));

/** Saves visits as CSV; cells that a spreadsheet would run as a formula are escaped. */
export function exportVisits(visits, name) {
  const time = (time_s) => { const date = new Date(time_s * 1000); return new Date(time_s * 1000 - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19).replace("T", " "); };
  const cell = (value) => {
    const text = String(value ?? "");
    return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  };
  const rows = [["person", "name", "camera", "from", "until", "sightings"],
    ...[...visits].reverse().map((one) => [one.person_id, called(one.person_id, one.name), one.camera_name, time(one.first_s), time(one.last_s), one.sightings])];
  download(`${fileName(name)}.csv`, "text/csv", `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`);
}

/** Saves visits as a self-contained HTML page with their pictures. */
export async function exportPage(visits, title) {
  const most = visits.slice(0, MOST_SAVED);
  const pictures = await Promise.all(most.map((one) => one.picture_id === null ? null : pictureData(one.picture_id)));
  const images = pictures.map((picture) => picture && h("img", { alt: "", width: 48, height: 96 }));
  const rows = most.map((one, at) => h("tr", {}, h("td", {}, images[at] ?? ""), [called(one.person_id, one.name), one.camera_name, dayOf(one.first_s), span(one.first_s, one.last_s), one.sightings].map((text) => h("td", {}, String(text)))));
  // A detached document: in this one, the content security policy would block the data URLs.
  const saved = document.implementation.createHTMLDocument(title);
  saved.documentElement.lang = "en";
  saved.head.append(h("meta", { charset: "utf-8" }), h("meta", { name: "viewport", content: "width=device-width" }));
  saved.body.append(h("h1", {}, title), h("p", {}, `${count(visits.length, "visit")}${visits.length > most.length ? `, the newest ${most.length} shown` : ""}. Saved ${dayOf(Date.now() / 1000)}, ${clockOf(Date.now() / 1000)}.`),
    h("table", {}, h("tr", {}, ["", "Who", "Camera", "Day", "Time", "Sightings"].map((text) => h("th", {}, text))), rows));
  images.forEach((image, at) => { if (image) image.src = pictures[at]; });
  const style = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color-scheme:light dark}td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8885}img{object-fit:cover;border-radius:6px;display:block}";
  download(`${fileName(title)}.html`, "text/html", `<!doctype html>${saved.documentElement.outerHTML.replace("</head>", `<style>${style}</style></head>`)}`);
}

const fileName = (name) => name.replace(/[^\p{L}\p{N}_-]+/gu, "-");

/**
 * Visits over time, one lane each. Cells with visits are buttons; `onSelect` gets the chosen cell (lane,
 * from, until) or null. Zooming is centred on the chosen cell, otherwise on the visits.
 */
export function timeline({ lanes, visits, from, until, title = null, onSelect = () => {} }) {
  const whole = [from, until];
  [from, until] = fitted(visits, from, until);
  const grid = h("div", { class: "lanes" });
  const button = (label, text, work) => h("button", { type: "button", class: "tool", "aria-label": label, onclick: work }, text);
  const back = button("Show the whole time", "All", () => { chosen = null; [from, until] = whole; changed(); });
  const tools = h("div", { class: "tools" }, title,
    button("Earlier", "‹", () => move(-0.5)), button("Zoom out", "−", () => zoom(2)),
    button("Zoom in", "+", () => zoom(0.5)), button("Later", "›", () => move(0.5)), back);
  let chosen = null;

  function changed() { draw(); onSelect(chosen); }
  function move(part) { const by = part * (until - from); from += by; until += by; chosen = null; changed(); }
  function zoom(factor) {
    const inside = visits.filter((one) => one.last_s >= from && one.first_s < until);
    const middle = chosen ? (chosen.from + chosen.until) / 2
      : inside.length && factor < 1 ? (Math.min(...inside.map((one) => one.first_s)) + Math.max(...inside.map((one) => one.last_s))) / 2 : (from + until) / 2;
    const width = Math.max(SHORTEST_S, (until - from) * factor);
    from = middle - width / 2;
    until = middle + width / 2;
    if (chosen && factor > 1) chosen = null;
    changed();
  }

  const place = (time_s) => 100 * (time_s - from) / (until - from);
  function put(element, first_s, last_s) {
    element.style.left = `${Math.max(0, place(first_s))}%`;
    element.style.width = `${Math.min(100, place(last_s)) - Math.max(0, place(first_s))}%`;
    return element;
  }

  function draw() {
    const most = innerWidth <= 640 ? 9 : 26;
    // Cells are at least an hour wide unless zoomed in.
    const step = STEPS.find((one) => (until - from) / one <= most && (one >= 3600 || until - from <= FINE_S)) ?? STEPS.at(-1);
    const zero = midnight(from);
    const cells = [];
    for (let at = zero + Math.floor((from - zero) / step) * step; at < until; at += step) cells.push([at, at + step]);
    const every = Math.ceil(cells.length / (innerWidth <= 640 ? 4 : 13));
    const ticks = h("div", { class: "ticks" }, cells.filter(([at], index) => index % every === 0 && at >= from - 1).map(([at]) => {
      const tick = h("span", {}, step >= 86400 ? dayName(at) : at === midnight(at) && until - from > 90000 ? dayName(at) : clockOf(at));
      tick.style.left = `${place(at)}%`;
      return tick;
    }));
    back.disabled = from === whole[0] && until === whole[1];
    show(grid, h("span", { class: "small faint" }, until - from <= 90000 ? headOf((from + until) / 2) : ""), ticks,
      lanes.flatMap((lane) => [h("span", { class: "small" }, lane.label), laneOf(lane, cells, step)]));
  }

  function laneOf(lane, cells, step) {
    const theirs = visits.filter((one) => lane.has(one) && one.last_s >= from && one.first_s < until).sort((a, b) => a.first_s - b.first_s);
    const ends = [];
    const least = (until - from) / 200;
    const bars = theirs.map((one) => {
      let row = ends.findIndex((end) => end <= one.first_s);
      if (row < 0) row = ends.length < MOST_ROWS ? ends.length : MOST_ROWS - 1;
      ends[row] = Math.max(one.last_s, one.first_s + least);
      const bar = put(h("i", { class: `bar-of ${kindOf(one)}` }), one.first_s, one.last_s);
      bar.style.top = `${5 + row * 11}px`;
      return bar;
    });
    const buttons = cells.map(([start, end]) => {
      const inside = theirs.filter((one) => one.last_s >= start && one.first_s < end);
      if (!inside.length) return null;
      const is = chosen?.lane === lane && chosen.from === start;
      return put(h("button", { type: "button", class: "cell", "aria-pressed": String(is), title: `${lane.label}, ${cellName(start, end, step)}`,
        "aria-label": `${lane.label}, ${cellName(start, end, step)}: ${count(inside.length, "visit")}`,
        onclick: () => { chosen = is ? null : { lane, from: start, until: end, text: cellName(start, end, step) }; changed(); } }), Math.max(start, from), Math.min(end, until));
    });
    const track = h("div", { class: "lane", role: "group", "aria-label": `${lane.label}: ${count(theirs.length, "visit")}` }, bars, buttons);
    track.style.height = `${Math.max(26, 10 + 11 * Math.max(1, ends.length))}px`;
    return track;
  }

  draw();
  return h("div", { class: "timeline" }, tools, grid);
}

/** The hours of a day that contain visits, with some margin. */
function fitted(visits, from, until) {
  const inside = visits.filter((one) => one.last_s >= from && one.first_s < until);
  if (!inside.length || until - from > 90000) return [from, until];
  let first = Math.max(from, Math.floor((Math.min(...inside.map((one) => one.first_s)) - 1800) / 3600) * 3600);
  let last = Math.min(until, Math.ceil((Math.max(...inside.map((one) => one.last_s)) + 1800) / 3600) * 3600);
  const more = Math.max(0, LEAST_SHOWN_S - (last - first)) / 7200;
  first = Math.max(from, first - Math.floor(more) * 3600);
  last = Math.min(until, Math.max(last, first + LEAST_SHOWN_S));
  return [Math.max(from, Math.min(first, last - LEAST_SHOWN_S)), last];
}

const cellName = (start, end, step) => step >= 86400 ? dayName(start) : `${clockOf(start)}–${clockOf(end)}`;

/** One lane per camera: those the service knows (if `all`) and those in the visits. */
export function cameraLanes(page, visits, { all = true } = {}) {
  const names = new Map(visits.map((one) => [one.camera_id, one.camera_name]));
  if (all) {
    for (const [id, name] of Object.entries(page.status.camera_names)) names.set(Number(id), name);
    for (const one of page.status.cameras) names.set(one.camera_id, one.name);
  }
  return [...names].sort((a, b) => a[0] - b[0]).map(([camera, label]) => ({ camera, label, has: (one) => one.camera_id === camera }));
}

export const inSelection = (one, chosen) => !chosen || (chosen.lane.has(one) && one.last_s >= chosen.from && one.first_s < chosen.until);

export function legend() {
  const row = (kind, text) => h("li", {}, h("i", { class: `bar-of ${kind}` }), text);
  return h("ul", { class: "bars-legend small faint" }, row("named", "has a name"), row("unnamed", "enrolled, without a name"), row("nobody", "unknown"));
}
