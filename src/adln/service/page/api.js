// Requests to the service that served this page, with the token stored for this tab only.

const API = "/api/v1";
const KEY = "adln.token";

export class Refused extends Error {
  constructor(status, problem, message) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

let onLogin = () => {};
/** Sets what happens when the service rejects the token. */
export function whenLoggedOut(callback) { onLogin = callback; }

async function request(method, path, { body, type, headers = {}, signal } = {}) {
  const given = token.get();
  if (given) headers.Authorization = `Bearer ${given}`;
  if (type) headers["Content-Type"] = type;
  let answer;
  try {
    answer = await fetch(API + path, { method, body, headers, signal, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The service is not answering. Is it running?");
  }
  if (!answer.ok) {
    const { problem, message } = await answer.json().catch(() => ({}));
    if (answer.status === 401) onLogin();
    throw new Refused(answer.status, problem, message ?? `The service answered ${answer.status}.`);
  }
  return answer;
}

const json = async (method, path, content) => {
  const answer = await request(method, path, content === undefined ? {} : { body: JSON.stringify(content), type: "application/json" });
  return answer.status === 204 ? null : answer.json();
};

export const get = (path) => json("GET", path);
export const post = (path, content = {}) => json("POST", path, content);
export const remove = (path) => json("DELETE", path);
export const put = (path, content) => json("PUT", path, content);

/** People as they are shown, for the service to compare with what they are by now: another operator may have changed them. */
export const asShown = (...people) => people.map(({ person_id, name }) => ({ person_id, name }));

/** The names of all people who have one, in alphabetical order. */
export async function everyName() {
  const names = [];
  let people;
  do {
    ({ people } = await get(`/persons?${new URLSearchParams({ named: true, limit: MOST_PEOPLE, offset: names.length })}`));
    names.push(...people.map((one) => one.name));
  } while (people.length === MOST_PEOPLE);
  return names.sort((a, b) => a.localeCompare(b));
}

/** The person called `name` or "Person 7", or null. Asks the service: somebody else may have named people since the page was loaded. */
export async function findPerson(name) {
  const { people } = await get(`/persons?${new URLSearchParams({ text: name, limit: MOST_PEOPLE })}`);
  return people.find((one) => (one.name ?? `Person ${one.person_id}`) === name) ?? null;
}

const MOST_PEOPLE = 500;
const SILENT_MS = 40000;
const PICTURE_WITHIN_MS = 10000;
const TYPES = ["image/jpeg", "image/png", "image/webp"];

/** Sends a picture unchanged. */
export async function sendPicture(path, file) {
  if (!TYPES.includes(file.type)) throw new Refused(415, "wrong_type", "This is not a JPEG, PNG or WebP picture.");
  return (await request("POST", path, { body: file, type: file.type })).json();
}

/** Loads the stored picture of a sighting into an image; the request needs the token. */
export async function loadPicture(sighting_id, image, instead = null) {
  try {
    const answer = await request("GET", `/sightings/${sighting_id}/picture`);
    const address = URL.createObjectURL(await answer.blob());
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.src = address;
  } catch { /* It was erased in the meantime. */ if (instead) image.replaceWith(instead); }
}

/** The stored picture of a sighting as a data URL; null if it is gone. */
export async function pictureData(sighting_id) {
  try {
    const blob = await (await request("GET", `/sightings/${sighting_id}/picture`)).blob();
    return await new Promise((done) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.readAsDataURL(blob);
    });
  } catch { return null; }
}

/** Loads a camera's current picture into an image; returns its time, or null if there is none. */
export async function loadCamera(camera_id, image) {
  try {
    const answer = await request("GET", `/cameras/${camera_id}/picture`, { signal: AbortSignal.timeout(PICTURE_WITHIN_MS) });
    if (answer.status === 204) return null;
    const address = URL.createObjectURL(await answer.blob());
    await new Promise((done) => {
      image.onload = image.onerror = done;
      image.src = address;
    });
    URL.revokeObjectURL(address);
    return Number(answer.headers.get("Adln-Time"));
  } catch { return null; }
}

/** Shows one picture from the camera at `source`, or at the stored address of `camera_id`. */
export async function tryCamera(source, image, camera_id = null) {
  const answer = await (source || camera_id === null ? request("POST", "/setup/cameras/try", { body: JSON.stringify({ source }), type: "application/json" })
    : request("POST", `/setup/cameras/${camera_id}/try`));
  showFile(await answer.blob(), image);
}

/** A camera's current picture, as a file. */
export async function takeFrame(camera_id) {
  const answer = await request("GET", `/cameras/${camera_id}/frame`);
  return new File([await answer.blob()], "frame.jpg", { type: "image/jpeg" });
}

/** Shows a local file in an image. */
export function showFile(file, image) {
  const address = URL.createObjectURL(file);
  image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
  image.src = address;
}

/**
 * Streams live events, beginning with recent ones, until `signal` aborts; reconnects on errors, and when nothing has arrived
 * for SILENT_MS: the service sends something every 15 s, and a lost network does not say so.
 */
export async function follow(onEvent, onState, signal) {
  let last = "0";
  while (!signal.aborted) {
    const line = new AbortController();
    const cut = () => line.abort();
    let timer = null;
    const heard = () => { clearTimeout(timer); timer = setTimeout(cut, SILENT_MS); };
    signal.addEventListener("abort", cut);
    try {
      heard();
      const answer = await request("GET", "/events", { headers: { "Last-Event-ID": last }, signal: line.signal });
      onState(true);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        heard();
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) {
          const fields = Object.fromEntries(event.split("\n").filter((line) => !line.startsWith(":")).map((line) => {
            const at = line.indexOf(": ");
            return [line.slice(0, at), line.slice(at + 2)];
          }));
          if (fields.id) last = fields.id;
          if (fields.event) onEvent(fields.event, JSON.parse(fields.data));
        }
      }
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", cut);
    }
    onState(false);
    await new Promise((wake) => setTimeout(wake, 2000));
  }
}
