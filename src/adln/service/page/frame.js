// Pictures of scenes: detect the people, mark one by hand, cut one out.

import { sendPicture } from "./api.js";
import { h } from "./dom.js";

const QUALITY = 0.95;
const STANDING = { left: 0.4, top: 0.15, width: 0.2, height: 0.7 };

/** Decodes a file to an image element. */
export async function pictureOf(file) {
  const image = h("img", { alt: "" });
  const address = URL.createObjectURL(file);
  try {
    image.src = address;
    await image.decode();
  } catch {
    throw new Error("The browser cannot show this picture.");
  } finally {
    URL.revokeObjectURL(address);
  }
  return image;
}

/** A part of a picture as a new file; `at` in fractions of its width and height. */
export async function cut(image, at) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const canvas = h("canvas", { width: Math.max(1, Math.round(at.width * width)), height: Math.max(1, Math.round(at.height * height)) });
  canvas.getContext("2d").drawImage(image, at.left * width, at.top * height, at.width * width, at.height * height, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  return new File([blob], "part.jpg", { type: "image/jpeg" });
}

/** Boxes of the people in a picture, from the left, in fractions of width and height; null without a detector. */
export async function findPeople(file) {
  const { width_px, height_px, can_find, people } = await sendPicture("/frames/people", file);
  if (!can_find) return null;
  return people.map(({ box_xyxy: [left, top, right, bottom] }) => ({ left: left / width_px, top: top / height_px, width: (right - left) / width_px, height: (bottom - top) / height_px }))
    .sort((a, b) => a.left - b.left);
}

/** Positions an element over a part of a picture. */
export function lay(element, at) {
  for (const [key, value] of Object.entries(at)) element.style[key] = `${100 * value}%`;
}

/** A picture in which a box is drawn by hand; `part()` returns the content of the box as a file. */
export function marker(image) {
  image.alt = "The picture in which to mark one person";
  const box = h("div", { class: "crop-box", tabindex: "0", role: "application", "aria-label": "Marked area: arrow keys move it, Shift and arrow keys resize it" });
  const frame = h("div", { class: "cropper" }, image, box);
  // The shape of a standing person, whatever the shape of the picture.
  const slim = Math.min(0.9, 0.35 * image.naturalHeight / image.naturalWidth);
  const standing = { ...STANDING, left: (1 - slim) / 2, width: slim };
  let at = standing;
  const place = () => lay(box, at);
  const bound = (value, most) => Math.min(Math.max(value, 0), most);
  const where = (event) => { const area = frame.getBoundingClientRect(); return [bound((event.clientX - area.left) / area.width, 1), bound((event.clientY - area.top) / area.height, 1)]; };
  let from = null;
  frame.addEventListener("pointerdown", (event) => { event.preventDefault(); from = where(event); frame.setPointerCapture(event.pointerId); });
  frame.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [x, y] = where(event);
    at = { left: Math.min(x, from[0]), top: Math.min(y, from[1]), width: Math.abs(x - from[0]), height: Math.abs(y - from[1]) };
    place();
  });
  frame.addEventListener("pointerup", () => { from = null; if (at.width < 0.01 || at.height < 0.01) { at = standing; place(); } });
  box.addEventListener("keydown", (event) => {
    const [x, y] = { ArrowLeft: [-0.02, 0], ArrowRight: [0.02, 0], ArrowUp: [0, -0.02], ArrowDown: [0, 0.02] }[event.key] ?? [0, 0];
    if (!x && !y) return;
    event.preventDefault();
    if (event.shiftKey) at = { ...at, width: bound(at.width + x, 1 - at.left) || 0.02, height: bound(at.height + y, 1 - at.top) || 0.02 };
    else at = { ...at, left: bound(at.left + x, 1 - at.width), top: bound(at.top + y, 1 - at.height) };
    place();
  });
  place();
  return { element: frame, part: () => cut(image, at) };
}
