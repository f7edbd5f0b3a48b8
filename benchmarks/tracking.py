r"""Measures who keeps their number: HOTA, AssA, IDF1, id switches, and what is kept after a gap.

    pip install --no-deps trackeval tabulate
    python -m benchmarks.tracking --work out/tracking --seeds 12,13,14

Sequences with a known truth are drawn once (see `benchmarks.tracking_scenes`); all trackers get
the same boxes. "motion" is the tracker without an appearance and without frames; "motion, camera"
compensates the motion of the camera; "res1-tracking", "res1" and "res2" compare embeddings of a
shipped network, "colours" histograms. `--detector yolox_nano_416.onnx` only times the trackers and
the detector on the same pictures, frame by frame in turn, on one core each. `--peers` adds the
trackers of roboflow's `trackers` where it is installed, with our thresholds where they have the
same ones. `--mot FOLDER`, which may be repeated, measures real sequences instead; without pictures
only trackers that need none can run.

Who has the number again after which gap needs many gaps of each length, which hedges make:

    python -m benchmarks.tracking --kinds hedge --seeds 12,13,14,15,16,17,18,19
"""

import contextlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmarks.tracking_measures import MEASURES, Gap, Measures, gaps, interval, share_interval
from benchmarks.tracking_scenes import KINDS, TrackedSequence, draw_sequence, read_sequence
from numpy.typing import NDArray

from adln.boxes import clip_to_picture
from adln.cameras.appearance import Appearance, crop_appearance
from adln.cameras.box_tracker import NO_TRACK, BoxTracker, follow_mot
from adln.cameras.detector import YoloxDetector
from adln.cameras.frames import Frame
from adln.cameras.mot_files import MotBoxes
from adln.cameras.tracker import TrackerSettings
from adln.crops import cut, resize
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network

OURS = ("motion", "motion, camera", "colours", "res1-tracking", "res1", "res2")
# Their lost tracks live for so many frames of a film of 30 a second; ours for two seconds.
_PEERS: dict[str, dict[str, Any]] = {
    "ByteTrackTracker": {"track_activation_threshold": 0.6, "minimum_consecutive_frames": 3},
    "BoTSORTTracker": {"track_activation_threshold": 0.6, "minimum_consecutive_frames": 3},
    "OCSORTTracker": {"minimum_consecutive_frames": 3},
}
_GAPS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 60.0)


@dataclass(kw_only=True)
class Run:
    """A tracker on all sequences.

    Attributes:
        by_kind: kind -> seed -> measures.
        overall: seed -> measures over all kinds.
        gaps: all of them.
        boxes: found in all.
        frames: of all.
        embeddings: made in all.
    """

    by_kind: dict[str, dict[int, dict[str, float]]]
    overall: dict[int, dict[str, float]]
    gaps: list[Gap]
    boxes: int = 0
    frames: int = 0
    embeddings: int = 0


Follow = Callable[[TrackedSequence], tuple[MotBoxes, int]]


def colour_appearance(image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]) -> Any:
    """Colours of the upper and lower half, as histograms: what any network should beat."""
    height_px, width_px = image.shape[:2]
    found = []
    for box in clip_to_picture(boxes_xyxy, height_px=height_px, width_px=width_px):
        crop = resize(cut(image, box.tolist()), height_px=64, width_px=32)
        inner = crop[4:-4, 8:-8] // 32
        halves = np.split(inner[..., 0] * 64 + inner[..., 1].astype(int) * 8 + inner[..., 2], 2)
        counts = [np.bincount(half.ravel().astype(int), minlength=512) for half in halves]
        found.append(np.sqrt(np.concatenate(counts)))
    return np.stack(found)


def _appearance(name: str) -> Appearance | None:
    if name in ("motion", "motion, camera"):
        return None
    if name == "colours":
        return colour_appearance
    embedder = OnnxEmbedder(find_network(name), threads=1)
    depth = max(embedder.depths)
    return crop_appearance(lambda crops: embedder.embed(crops)[depth], embedder.crop_size)


def ours(name: str) -> Follow:
    """One of `OURS`."""
    appearance = _appearance(name)

    def follow(sequence: TrackedSequence) -> tuple[MotBoxes, int]:
        tracker = BoxTracker(
            frames_per_s=sequence.frames_per_s, appearance=appearance, settings=TrackerSettings()
        )
        result = follow_mot(
            sequence.found,
            tracker,
            frame=None if name == "motion" or not sequence.has_pictures else sequence.picture,
            num_frames=sequence.num_frames,
        )
        return result, tracker.embeddings_made

    return follow


def peer(name: str) -> Follow:
    """One of `_PEERS`."""
    trackers: Any = import_module("trackers")
    supervision: Any = import_module("supervision")

    def follow(sequence: TrackedSequence) -> tuple[MotBoxes, int]:
        tracker = getattr(trackers, name)(
            frame_rate=sequence.frames_per_s,
            lost_track_buffer=60,
            high_conf_det_threshold=0.5,
            **_PEERS[name],
        )
        ids = np.full(len(sequence.found), NO_TRACK, np.int64)
        for frame in range(1, sequence.num_frames + 1):
            at = sequence.found.of_frame(frame)
            detections = supervision.Detections(
                xyxy=sequence.found.boxes_xyxy[at].astype(np.float32),
                confidence=sequence.found.confidences[at].astype(np.float32),
                class_id=at.astype(int),
            )
            bgr = None
            if sequence.has_pictures:
                bgr = np.ascontiguousarray(sequence.picture(frame)[:, :, ::-1])
            followed = tracker.update(detections, bgr)
            if followed.tracker_id is not None and len(followed):
                ids[followed.class_id] = followed.tracker_id
        kept = ids >= 0
        found = sequence.found
        result = MotBoxes(
            found.frames[kept], ids[kept] + 1, found.boxes_xyxy[kept], found.confidences[kept]
        )
        return result, 0

    return follow


def run(follow: Follow, sequences: dict[tuple[str, int], TrackedSequence]) -> Run:
    """Follow all sequences and measure."""
    outcome = Run(by_kind={}, overall={}, gaps=[])
    totals: dict[int, Measures] = {}
    for (kind, seed), sequence in sequences.items():
        # Metrics of TrackEval print how long they took.
        with contextlib.redirect_stdout(io.StringIO()):
            result, embeddings = follow(sequence)
            own = Measures()
            own.add(sequence, result)
            totals.setdefault(seed, Measures()).add(sequence, result)
            outcome.by_kind.setdefault(kind, {})[seed] = own.combined()
        outcome.gaps += gaps(sequence, result)
        outcome.boxes += len(sequence.found)
        outcome.frames += sequence.num_frames
        outcome.embeddings += embeddings
    with contextlib.redirect_stdout(io.StringIO()):
        outcome.overall = {seed: measures.combined() for seed, measures in totals.items()}
    return outcome


def costs(
    names: Sequence[str], detector: YoloxDetector, sequences: Sequence[TrackedSequence]
) -> dict[str, tuple[float, float]]:
    """Seconds of a processor that trackers and, as "detector", the detector take for each frame.

    All of them see a frame before any sees the next, so that what else the machine does strikes all
    alike; and each after the detector, which leaves nothing of a tracker in the processor's cache.
    Reading pictures does not count, nor does waiting for the processor.

    Returns:
        name -> mean and 95th percentile.
    """
    taken: dict[str, list[float]] = {name: [] for name in ("detector", *names)}
    appearances = {name: _appearance(name) for name in names}
    for sequence in sequences:
        trackers = {
            name: BoxTracker(frames_per_s=sequence.frames_per_s, appearance=appearance)
            for name, appearance in appearances.items()
        }
        for number in range(1, sequence.num_frames + 1):
            picture = sequence.picture(number)
            at = sequence.found.of_frame(number)
            boxes, confidences = sequence.found.boxes_xyxy[at], sequence.found.confidences[at]
            frame = Frame("", number - 1, number / sequence.frames_per_s, picture)
            for name, tracker in trackers.items():
                begin_s = time.process_time()
                detector.detect([frame])
                taken["detector"].append(time.process_time() - begin_s)
                begin_s = time.process_time()
                tracker.update(boxes, confidences, None if name == "motion" else picture)
                taken[name].append(time.process_time() - begin_s)
    return {
        name: (float(np.mean(each)), float(np.percentile(each, 95))) for name, each in taken.items()
    }


def _line(name: str, by_seed: dict[int, dict[str, float]]) -> str:
    parts = []
    for measure in MEASURES:
        values = [by_seed[seed][measure] for seed in sorted(by_seed)]
        mean, half = interval(values) if len(values) > 1 else (values[0], 0.0)
        parts.append(f"{mean:5.1f} ± {half:4.1f}")
    return f"{name:16s} " + "  ".join(parts)


def _gap_line(name: str, found: Sequence[Gap]) -> str:
    kept, stolen = sum(gap.kept for gap in found), sum(gap.stolen for gap in found)
    if not found:
        return f"{name:16s}    0 gaps"
    low, high = share_interval(kept, len(found))
    return (
        f"{name:16s} {len(found):4d} gaps: {100 * kept / len(found):3.0f} % "
        f"({100 * low:.0f} to {100 * high:.0f}) kept, {stolen} somebody else's"
    )


@click.command()
@click.option("--work", default="out/tracking", type=click.Path(path_type=Path), show_default=True)
@click.option("--seeds", default="12,13,14", show_default=True)
@click.option("--kinds", default=",".join(KINDS), show_default=True)
@click.option("--trackers", default=";".join(OURS), show_default=True, help="Names, split by ;")
@click.option("--peers", is_flag=True, help="With roboflow's trackers as well.")
@click.option(
    "--detector",
    type=click.Path(exists=True, path_type=Path),
    help="Time this YOLOX and the trackers only.",
)
@click.option(
    "--mot",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A real sequence, in place of the drawn ones; may be repeated.",
)
def main(
    work: Path,
    seeds: str,
    kinds: str,
    trackers: str,
    peers: bool,
    detector: Path | None,
    mot: tuple[Path, ...],
) -> None:
    """Draw, follow, measure."""
    sequences: dict[tuple[str, int], TrackedSequence] = {}
    for folder in mot:
        sequences[folder.name, 0] = read_sequence(folder)
    if not mot:
        for seed in map(int, seeds.split(",")):
            for kind in kinds.split(","):
                sequences[kind, seed] = read_sequence(draw_sequence(work, kind, seed))
    if detector is not None:
        found_s = costs(trackers.split(";"), YoloxDetector(detector), list(sequences.values()))
        click.echo("-- ms a frame, mean and 95th percentile; part of the detector's mean")
        for name, (mean_s, most_s) in found_s.items():
            part = mean_s / found_s["detector"][0]
            click.echo(f"{name:16s} {1e3 * mean_s:7.2f} {1e3 * most_s:7.2f}  {100 * part:5.1f} %")
        return
    follows: dict[str, Callable[[], Follow]] = {}
    for name in trackers.split(";"):
        follows[name] = lambda name=name: ours(name)  # type: ignore[misc]
    if peers:
        for name in _PEERS:
            follows[name] = lambda name=name: peer(name)  # type: ignore[misc]
    work.mkdir(parents=True, exist_ok=True)
    runs = {}
    for name, make in follows.items():
        runs[name] = run(make(), sequences)
        (work / "tracking.json").write_text(
            json.dumps({one: asdict(found) for one, found in runs.items()}, indent=1)
        )
        click.echo(f"{name}: done", err=True)
    click.echo(f"{'':16s} " + "  ".join(f"{measure:>12s}" for measure in MEASURES))
    for kind in dict.fromkeys(kind for kind, _ in sequences):
        click.echo(f"-- {kind}")
        for name, found in runs.items():
            click.echo(_line(name, found.by_kind[kind]))
    click.echo("-- all")
    for name, found in runs.items():
        click.echo(_line(name, found.overall))
    _echo_gaps_and_cost(runs)


def _echo_gaps_and_cost(runs: dict[str, Run]) -> None:
    for least, most in pairwise(_GAPS_S):
        click.echo(f"-- out of sight for more than {least:g} s, at most {most:g} s")
        for name, found in runs.items():
            click.echo(_gap_line(name, [one for one in found.gaps if least < one.seconds <= most]))
    click.echo("-- embeddings a box, a frame")
    for name, found in runs.items():
        click.echo(
            f"{name:16s} {found.embeddings / found.boxes:.3f}  "
            f"{found.embeddings / found.frames:.3f}"
        )


if __name__ == "__main__":
    main()
