// Whether recognising works here, and the one thing that would make it better.

import { h, moment } from "./dom.js";
import { section } from "./sections.js";

const STEPS = {
  network: ["This service has no network: boxes push what they see, and pictures cannot be searched for. Start it with ", "--network res2", " to change that."],
  prove: ["The network has nothing in its file to try it by. Export it again with ", "adln export", ", or use one that comes with adln."],
  calibrate: ["Nobody has said which likeness counts as the same person. ", "adln calibrate", " finds it out."],
  adapt: ["Enough was seen to measure your cameras: ", "adln adapt GALLERY --dry-run", " says whether that would make people easier to tell apart, and changes nothing yet."],
  none: ["Nothing is missing."],
};

export function checkSection({ network, adaptations, next_step }) {
  const fact = (label, value, state, more) => h("div", {}, h("dt", {}, label), h("dd", {}, state ? h("span", { class: `state ${state}` }, value) : value), more && h("dd", { class: "small faint" }, more));
  const [text, command, rest] = STEPS[next_step];
  return section("Recognition", null, h("dl", { class: "facts" },
    network ? fact("Network", network.name, null, `depth ${network.depth} of 4, ${network.precision}`) : fact("Network", "None"),
    network && fact("Self-check", network.is_proved ? "Right on this machine" : "Not tried", network.is_proved ? "running" : "connecting", network.is_proved ? "It answers as where it was made." : null),
    network && fact("How sure it is", network.is_calibrated ? "Said with answers" : "Not known", network.is_calibrated ? "running" : "connecting", network.is_calibrated ? "Matched, perhaps or unknown." : "Answers have no verdict."),
    adaptations.length ? adaptations.map((one) => fact("Adapted to your cameras", one.since_s === null ? "On" : `Since ${moment(one.since_s)}`, "running", gain(one)))
      : fact("Adapted to your cameras", "No", null, "People are compared as the network sees them.")),
  h("p", { class: next_step === "none" ? "small faint below" : "note quiet-note below" }, next_step === "none" ? null : h("strong", {}, "Next: "), text, command && h("code", {}, command), rest));
}

const percent = (share) => `${Math.round(100 * share)} %`;

function gain({ recognised_before, recognised, num_tracks }) {
  const measured = `Measured by ${num_tracks.toLocaleString()} tracks`;
  return recognised === null ? `${measured}.` : `${measured}: ${percent(recognised)} of them are recognised, before ${percent(recognised_before)}.`;
}
