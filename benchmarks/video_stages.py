r"""Times the stages of a video pipeline: source, detector, tracker, selection, and the embedder.

    python -m benchmarks.video_stages clip.mp4 --detector yolox_nano.onnx --model res2_int8.onnx
    python -m benchmarks.video_stages clip.mp4 --detector yolox_nano.onnx --annotated frames/

Several clips are several cameras. `--boxes boxes.jsonl` takes the place of the detector.
`--annotated FOLDER` writes every n-th frame with its tracks, and the crops that were chosen of
each track side by side, for a person to look at.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adln.cameras.boxes_file import BoxesFile
from adln.cameras.detector import Detector, YoloxDetector
from adln.cameras.frames import Frame
from adln.cameras.selection import CropSelector, TrackReport
from adln.cameras.tracker import ByteTracker, TrackUpdate
from adln.cameras.watching import CameraGroup, open_source
from adln.embedders.embedder import OnnxEmbedder
from adln.errors import AdlnError
from adln.gallery.records import pool_track

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
STAGES = ("source", "detector", "tracker", "selection", "embedder")


class Stopwatch:
    """Adds up the wall time of each stage."""

    def __init__(self) -> None:
        self.spent_s: Counter[str] = Counter()

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent_s[stage] += time.perf_counter() - start  # type: ignore[assignment]


class Album:
    """Pictures of what was found, for a person to look at."""

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every
        self._crops: dict[str, TrackReport] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def show(self, frame: Frame, tracks: TrackUpdate, boxes: NDArray[np.float32]) -> None:
        """Write every n-th frame: detections thin and grey, tracks thick with their ids."""
        if frame.index % self._every:
            return
        picture = Image.fromarray(frame.image)
        draw = ImageDraw.Draw(picture)
        for box in boxes.tolist():
            draw.rectangle(box, outline=(160, 160, 160))
        for person in tracks.people:
            colour = tuple(
                int(c) for c in np.random.default_rng(person.track_id).integers(80, 255, 3)
            )
            left, top, *_ = box = person.box_xyxy.tolist()
            draw.rectangle(box, outline=colour, width=3)
            draw.text((left + 4, top + 3), f"{person.track_id}  {person.confidence:.2f}", colour)
        draw.text((5, 5), f"{frame.camera_id}  frame {frame.index}  {frame.time_s:.1f} s", "white")
        picture.save(self._folder / f"{frame.camera_id}-{frame.index:05d}.jpg")

    def keep(self, report: TrackReport) -> None:
        """Remember a track's crops as they are when it ends."""
        self._crops[f"{report.camera_id}-{report.track_id:03d}"] = report

    def write_crops(self) -> None:
        """Write one picture with a row of crops for each track."""
        rows = list(self._crops.items())
        if not rows:
            return
        sheet = Image.new("RGB", (110 + 68 * 8, 150 * len(rows)), "white")
        draw = ImageDraw.Draw(sheet)
        for at, (name, report) in enumerate(rows):
            span = f"{report.first_s:.1f}-{report.last_s:.1f} s"
            draw.text((4, 150 * at + 50), f"{name}\n{span}", "black")
            for place, crop in enumerate(report.crops[:8]):
                small = Image.fromarray(crop.image).resize((64, 128))
                sheet.paste(small, (110 + 68 * place, 150 * at + 2))
                draw.text((112 + 68 * place, 150 * at + 132), f"{crop.quality:.2f}", "black")
        sheet.save(self._folder / "tracks.png")


@click.command()
@click.argument("clips", nargs=-1, required=True)
@click.option("--detector", "detector_path", type=FILE, help="YOLOX in ONNX.")
@click.option("--boxes", "boxes_path", type=FILE, help="JSON lines, in place of a detector.")
@click.option("--model", type=FILE, help="File of `adln export`; embeds the chosen crops.")
@click.option("--crops", default=4, show_default=True, help="Crops of a track, at most.")
@click.option("--threads", default=1, show_default=True)
@click.option("--frames", default=0, help="Stop after so many frames; 0: all.")
@click.option("--annotated", type=click.Path(file_okay=False, path_type=Path))
@click.option("--every", default=50, show_default=True, help="Annotate each n-th frame.")
def main(
    clips: tuple[str, ...],
    detector_path: Path | None,
    boxes_path: Path | None,
    model: Path | None,
    crops: int,
    threads: int,
    frames: int,
    annotated: Path | None,
    every: int,
) -> None:
    """Time the stages of a video pipeline."""
    try:
        detector = _open_detector(detector_path, boxes_path, threads)
        embedder = None if model is None else OnnxEmbedder(model, threads=threads)
        names = [f"camera{number}" for number in range(1, len(clips) + 1)]
        group = CameraGroup([open_source(*pair) for pair in zip(clips, names, strict=True)])
        _run(group, names, detector, embedder, crops, frames, annotated, every)
    except AdlnError as error:
        raise click.ClickException(str(error)) from error


def _open_detector(detector: Path | None, boxes: Path | None, threads: int) -> Detector:
    if (detector is None) == (boxes is None):
        raise click.UsageError("give --detector or --boxes, and one of them only.")
    if boxes is not None:
        return BoxesFile(boxes)
    assert detector is not None
    return YoloxDetector(detector, threads=threads)


def _run(
    group: CameraGroup,
    names: list[str],
    detector: Detector,
    embedder: OnnxEmbedder | None,
    crops: int,
    most_frames: int,
    annotated: Path | None,
    every: int,
) -> None:
    watch = Stopwatch()
    album = None if annotated is None else Album(annotated, every)
    size = (256, 128) if embedder is None else embedder.crop_size
    trackers = {name: ByteTracker() for name in names}
    selectors = {name: CropSelector(name, crops_per_track=crops, crop_size=size) for name in names}
    known: dict[str, dict[int, NDArray[np.float32]]] = defaultdict(dict)
    final: dict[tuple[str, int], NDArray[np.float32]] = {}
    count = people = embedded = 0
    reports: list[TrackReport] = []
    last_s = first_s = None
    rounds = group.rounds()
    began = time.perf_counter()
    shown_s = 0.0
    while True:
        with watch.timing("source"):
            frames = next(rounds, None)
        if frames is None or (most_frames and count >= most_frames):
            break
        with watch.timing("detector"):
            found = detector.detect(frames)
        due: list[TrackReport] = []
        for frame, detections in zip(frames, found, strict=True):
            with watch.timing("tracker"):
                tracks = trackers[frame.camera_id].update(detections, frame.time_s)
            with watch.timing("selection"):
                due += selectors[frame.camera_id].update(frame, tracks)
            people += len(tracks.people)
            count += 1
            first_s = frame.time_s if first_s is None else first_s
            last_s = frame.time_s
            if album is not None:
                start = time.perf_counter()
                album.show(frame, tracks, detections.boxes_xyxy)
                shown_s += time.perf_counter() - start
        with watch.timing("embedder"):
            embedded += _embed(embedder, due, known, final)
        reports += due
    if last_s is None or first_s is None:
        raise click.ClickException("the clips have no frames.")
    for name in names:
        with watch.timing("selection"):
            due = selectors[name].end(trackers[name].finish(), last_s)
        with watch.timing("embedder"):
            embedded += _embed(embedder, due, known, final)
        reports += due
    wall_s = time.perf_counter() - began - shown_s
    for report in reports:
        if album is not None and report.reason == "ended":
            album.keep(report)
    if album is not None:
        album.write_crops()
    video_s = (last_s - first_s) * len(names)
    _print_table(watch, count, people, wall_s, video_s)
    ended = [report for report in reports if report.reason == "ended"]
    reasons = Counter(report.reason for report in reports)
    click.echo(f"\ntracks {len(ended)}, of which {reasons['first']} could be recognised")
    click.echo(f"reports {dict(reasons)}, crops embedded {embedded}")
    for status in group.statuses():
        click.echo(
            f"{status.camera_id}: read {status.frames_read}, corrupt {status.frames_corrupt}, "
            f"dropped {status.frames_dropped}"
        )
    if len(final) > 1:
        _print_distances(final)


def _embed(
    embedder: OnnxEmbedder | None,
    due: list[TrackReport],
    known: dict[str, dict[int, NDArray[np.float32]]],
    final: dict[tuple[str, int], NDArray[np.float32]],
) -> int:
    """Embed the crops that are new, all cameras together; gives their number."""
    if embedder is None or not due:
        return 0
    new = {
        (report.camera_id, crop.crop_id): crop.image
        for report in due
        for crop in report.crops
        if crop.crop_id not in known[report.camera_id]
    }
    if new:
        depth = embedder.depths[-1]
        vectors = embedder.embed(np.stack(list(new.values())))[depth]
        for (camera_id, crop_id), vector in zip(new, vectors, strict=True):
            known[camera_id][crop_id] = vector
    for report in due:
        if report.crops:
            of_crop = known[report.camera_id]
            final[report.camera_id, report.track_id] = pool_track(
                np.stack([of_crop[crop.crop_id] for crop in report.crops]),
                np.array([crop.quality for crop in report.crops]),
            )
    return len(new)


def _print_table(watch: Stopwatch, count: int, people: int, wall_s: float, video_s: float) -> None:
    click.echo(f"{count} frames, {people / count:.2f} people a frame followed\n")
    click.echo(f"{'stage':<12}{'ms a frame':>12}{'share':>9}")
    for stage in STAGES:
        spent_s = float(watch.spent_s[stage])
        click.echo(f"{stage:<12}{1000 * spent_s / count:>12.2f}{spent_s / wall_s:>9.1%}")
    click.echo(f"{'all':<12}{1000 * wall_s / count:>12.2f}{1:>9.1%}")
    click.echo(
        f"\n{count / wall_s:.1f} frames/s; {video_s:.1f} s of video in {wall_s:.1f} s: "
        f"{video_s / wall_s:.2f} x real time"
    )


def _print_distances(final: dict[tuple[str, int], NDArray[np.float32]]) -> None:
    vectors = np.stack(list(final.values()))
    distances = 1 - vectors @ vectors.T
    upper = distances[np.triu_indices(len(vectors), 1)]
    click.echo(
        f"cosine distances between tracks: least {upper.min():.3f}, "
        f"median {np.median(upper):.3f}, most {upper.max():.3f}"
    )


if __name__ == "__main__":
    main()
