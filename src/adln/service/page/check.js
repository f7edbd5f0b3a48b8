// Whether recognition works here, and the most useful next step.

import { h, moment } from "./dom.js";
import { section } from "./sections.js";

const STEPS = {
  network: ["This service has no network: it stores sightings that other devices push, but cannot search for pictures. To change that, start it with ", "--network res2", "."],
  prove: ["The network file contains no self-check. Export it again with ", "adln export", ", or use a network that comes with adln."],
  calibrate: ["It is not known which similarity means the same person. ", "adln calibrate", " measures it."],
  adapt: ["There are enough sightings to adapt to your cameras: ", "adln adapt GALLERY --dry-run", " measures the gain without changing anything."],
  none: ["Everything is set up."],
};

export function checkSection({ network, adaptations, next_step }) {
  const fact = (label, value, state, more) => h("div", {}, h("dt", {}, label), h("dd", {}, state ? h("span", { class: `state ${state}` }, value) : value), more && h("dd", { class: "small faint" }, more));
  const [text, command, rest] = STEPS[next_step];
  return section("Recognition", null, h("dl", { class: "facts" },
    network ? fact("Network", network.name, null, `depth ${network.depth} of 4, ${network.precision}`) : fact("Network", "None"),
    network && fact("Self-check", network.is_proved ? "Passed on this machine" : "Not run", network.is_proved ? "running" : "connecting", network.is_proved ? "Its outputs equal those where it was exported." : null),
    network && fact("Confidence", network.is_calibrated ? "Calibrated" : "Not calibrated", network.is_calibrated ? "running" : "connecting", network.is_calibrated ? "Answers say matched, perhaps or unknown." : "Answers have no verdict."),
    adaptations.length ? adaptations.map((one) => fact("Adapted to your cameras", one.since_s === null ? "On" : `Since ${moment(one.since_s)}`, "running", gain(one)))
      : fact("Adapted to your cameras", "No", null, "The network's embeddings are compared unchanged.")),
  h("p", { class: next_step === "none" ? "small faint below" : "note quiet-note below" }, next_step === "none" ? null : h("strong", {}, "Next: "), text, command && h("code", {}, command), rest));
}

const percent = (share) => `${Math.round(100 * share)} %`;

function gain({ recognised_before, recognised, num_tracks }) {
  const measured = `Measured on ${num_tracks.toLocaleString()} tracks`;
  return recognised === null ? `${measured}.` : `${measured}: ${percent(recognised)} of them are recognised, ${percent(recognised_before)} without adaptation.`;
}
