// Builds the page's elements (never from HTML of a server), dialogs and messages.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, event listeners (on…) and children. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces the children of an element. */
export function show(place, ...children) {
  place.replaceChildren(...children.flat().filter(Boolean));
}

/** Shows a message at the bottom of the page; one with an undo stays until it is dismissed. */
export function say(text, undo = null) {
  const place = document.getElementById("toasts");
  const close = () => toast.remove();
  const toast = h("div", { class: "toast" }, h("span", {}, text),
    undo && h("button", { type: "button", class: "undo", onclick: () => { close(); undo(); } }, "Undo"),
    h("button", { type: "button", "aria-label": "Dismiss", onclick: close }, "✕"));
  place.replaceChildren(toast);
  if (!undo) setTimeout(close, 6000);
}

/** A dialog with a form; it closes when `send`, which gets the form's data, has succeeded. */
export function ask({ title, body, submit, danger = false, send }) {
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: danger ? "primary danger" : "primary" }, submit);
  const form = h("form", {}, h("h2", { id: "dialog-title" }, title), ...body, problem,
    h("div", { class: "actions" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.hidden = true;
    try {
      await send(new FormData(form), dialog);
      if (!dialog.dataset.stays) dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      go.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export function field(label, input) {
  return h("label", { class: "field" }, h("span", {}, label), input);
}

const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", year: "numeric" });
const shortDay = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

// Dates out of JavaScript's range would throw.
const format = (how, time_s) => Math.abs(time_s) < 8.64e12 ? how.format(time_s * 1000) : "no time";
export const dayOf = (time_s) => format(day, time_s);
export const clockOf = (time_s) => format(clock, time_s);

/** Midnight at the beginning of the day of `time_s`, plus `days`, in seconds. */
export function midnight(time_s = Date.now() / 1000, days = 0) {
  const date = new Date(time_s * 1000);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime() / 1000;
}

/** "today", "yesterday", or the date. */
export function dayName(time_s) {
  if (midnight(time_s) === midnight()) return "today";
  if (midnight(time_s) === midnight(undefined, -1)) return "yesterday";
  return format(shortDay, time_s);
}

/** A range of times: 14:02–14:10, or one time if both are equal. */
export const span = (first_s, last_s) => clockOf(first_s) === clockOf(last_s) ? clockOf(first_s) : `${clockOf(first_s)}–${clockOf(last_s)}`;

/** Day and time: today 14:02, yesterday 09:30, or the date and time. */
export function moment(time_s) {
  if (time_s === null) return "never";
  const today = midnight();
  if (time_s >= today && time_s < midnight(today, 1)) return `today ${clockOf(time_s)}`;
  if (time_s >= midnight(today, -1) && time_s < today) return `yesterday ${clockOf(time_s)}`;
  return `${dayOf(time_s)}, ${clockOf(time_s)}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}

export const upper = (text) => `${text[0].toUpperCase()}${text.slice(1)}`;

/** The states of a camera. */
export const STATES = { running: "Running", connecting: "Connecting…", lost: "No picture", ended: "Ended" };

export const called = (person_id, name) => name ?? (person_id === null ? "Unknown person" : `Person ${person_id}`);

export function empty(title, text, ...more) {
  return h("div", { class: "empty" }, silhouette(), h("strong", {}, title), h("p", {}, text), ...more);
}

/** The colour that distinguishes a person in a picture of several. */
export function colourOf(person_id) {
  return person_id === null ? "hsl(212 12% 62%)" : `hsl(${(person_id * 137.508) % 360} 62% 56%)`;
}

/** A grey figure, shown for a person without a stored picture. */
export function silhouette() {
  return s("svg", { viewBox: "0 0 64 128", "aria-hidden": "true", preserveAspectRatio: "xMidYMid meet", class: "figure" },
    s("path", { d: "M22 66h20l3 50a4 4 0 0 1-8 .6L32 82l-5 34.6a4 4 0 0 1-8-.6z" }),
    s("path", { d: "M24 34h16c6 0 9 4 9.5 9l2.5 25a3.5 3.5 0 0 1-7 .8L42 50v20H22V50l-3 18.8a3.5 3.5 0 0 1-7-.8l2.5-25C15 38 18 34 24 34z" }),
    s("circle", { cx: 32, cy: 20, r: 10.5 }));
}

/** Has the browser save a file. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
