r"""Watches a long day of drawn people as a time-lapse: are they counted, kept apart, and forgotten?

    python -m benchmarks.long_watch                                # 20 people, a few minutes
    python -m benchmarks.long_watch --people 60 --visits 240       # the whole day

People come to one camera several times within eight hours, alone or in twos, and cross the view.
Only the seconds in which somebody is there are drawn, at the times at which they happen. The
boxes are those of the drawing, with jitter. Tracker, crops, network, gallery and settings are
those of `adln watch`. It tells how many identities there are for how many people, how many
templates lie with a person of whom they are not, and how the memory grew.
"""

import resource
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from adln.boxes import iou
from adln.cameras.detections import Detections
from adln.cameras.frames import CameraStatus, Frame
from adln.cameras.selection import CropSelector
from adln.cameras.tracker import ByteTracker
from adln.embedders.quality import QUALITIES, Quality, files_for
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.assembly import open_appearance, open_scales
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.identity import IdentityBook
from adln.pipeline.load import LoadController, LoadSettings, make_ladder
from adln.pipeline.roster import track_number
from adln.pipeline.watch import CameraParts, SeenFrame, Watch
from adln.pipeline.watch_settings import WatchSettings
from adln.scenes.drawn_figure import draw_figure
from adln.scenes.drawn_people import DrawnPerson, describe_person

_CAMERA, _FPS = "day", 5.0
_HEIGHT_PX, _WIDTH_PX, _FIGURE_PX = 360, 640, 200.0
_DAY_S, _BEGIN_S = 8 * 3600.0, 1_750_000_000.0
_VISIT_S = 7.0
_IN_TWOS = 0.25
_JITTER = 0.02


class Day:
    """Cameras and detector in one: draws who is there, and says where.

    Args:
        people: how many there are.
        visits: how often somebody comes, in all.
        seed: of people and times.
    """

    def __init__(self, people: int, visits: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._people = {number: describe_person(seed, number) for number in range(1, people + 1)}
        ground = self._rng.integers(120, 150, (_HEIGHT_PX // 8, _WIDTH_PX // 8, 3), dtype=np.uint8)
        self._ground = ground.repeat(8, axis=0).repeat(8, axis=1)
        # Everybody comes once; the rest of the visits are anybody's.
        order = [*self._people, *self._rng.integers(1, people + 1, max(0, visits - people))]
        self._rng.shuffle(order)
        self._slots: list[tuple[int, ...]] = []
        while order:
            pair = len(order) > 1 and order[-1] != order[-2] and self._rng.random() < _IN_TWOS
            self._slots.append(tuple(int(order.pop()) for _ in range(2 if pair else 1)))
        starts = np.sort(self._rng.uniform(0, _DAY_S - _VISIT_S, len(self._slots)))
        # One slot is over before the next begins.
        self._starts_s = np.maximum.accumulate(
            starts - np.arange(len(starts)) * (_VISIT_S + 1)
        ) + np.arange(len(starts)) * (_VISIT_S + 1)
        self.truth: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}
        self.rss_mib: list[float] = []

    def rounds(self) -> Iterator[list[Frame]]:
        """The frames of the day."""
        index = 0
        for start_s, slot in zip(self._starts_s.tolist(), self._slots, strict=True):
            ways = [self._way(place) for place in range(len(slot))]
            for step in range(round(_VISIT_S * _FPS)):
                image = self._draw(index, step / (_VISIT_S * _FPS), slot, ways)
                time_s = _BEGIN_S + start_s + step / _FPS
                yield [Frame(_CAMERA, index, time_s, image)]
                # Only the latest is asked for.
                self.truth.pop(index, None)
                index += 1
            self.rss_mib.append(_rss_mib())

    def _way(self, place: int) -> tuple[bool, float]:
        return bool(self._rng.random() < 0.5), 300.0 + 30.0 * place + self._rng.uniform(-10, 10)

    def _draw(
        self, index: int, share: float, slot: Sequence[int], ways: Sequence[tuple[bool, float]]
    ) -> NDArray[np.uint8]:
        image, found = self._ground, []
        for number, (ahead, ground_y) in sorted(zip(slot, ways, strict=True), key=lambda w: w[1]):
            person: DrawnPerson = self._people[number]
            x = 70.0 + (_WIDTH_PX - 140.0) * (share if ahead else 1 - share)
            figure = draw_figure(
                person,
                height_px=_FIGURE_PX,
                heading_deg=90.0 if ahead else 270.0,
                phase=40 * share,
                supersampling=2,
            )
            image = figure.lay_over(image, ground_xy=(round(x), round(ground_y)))
            half = 0.2 * _FIGURE_PX
            box = np.array([x - half, ground_y - _FIGURE_PX, x + half, ground_y + 4], np.float32)
            jitter = self._rng.normal(0, _JITTER * half, 4)
            found.append((number, (box + jitter).astype(np.float32)))
        self.truth[index] = found
        return image

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Where people are; of those who are hidden, nowhere."""
        answers = []
        for frame in frames:
            boxes: list[NDArray[np.float32]] = []
            # Who is in front is drawn last, and hides the others.
            for _, box in reversed(self.truth[frame.index]):
                if not boxes or iou(box[None], np.stack(boxes)).max() < 0.5:
                    boxes.append(box)
            answers.append(
                Detections(
                    np.array(boxes, np.float32).reshape(-1, 4),
                    np.full(len(boxes), 0.9, np.float32),
                )
            )
        return answers

    def statuses(self) -> list[CameraStatus]:
        """How the camera is doing."""
        return []


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


@click.command()
@click.option("--people", default=20, show_default=True, type=click.IntRange(1))
@click.option("--visits", default=60, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--quality", default="best", type=click.Choice(QUALITIES), show_default=True)
def main(people: int, visits: int, seed: int, quality: Quality) -> None:
    """Draw, watch, count."""
    settings = WatchSettings(quality=quality)
    embedder = DepthEmbedder(files_for(settings.network.files, quality))
    first, deepest = min(embedder.depths), max(embedder.depths)
    day = Day(people, visits, seed)
    votes: dict[int, Counter[int]] = defaultdict(Counter)

    def on_frame(seen: SeenFrame) -> None:
        truth = day.truth[seen.frame.index]
        boxes = np.stack([box for _, box in truth])
        for one in seen.people:
            overlaps = iou(np.array([one.box_xyxy], np.float32), boxes)[0]
            votes[track_number(1, one.track_id)][truth[int(overlaps.argmax())][0]] += 1

    with (
        tempfile.TemporaryDirectory(prefix="adln-long-watch-") as folder,
        SqliteGallery(Path(folder) / "gallery", create=True) as gallery,
    ):
        scales = open_scales(settings, embedder)
        book = IdentityBook(
            gallery,
            digest=embedder.digest,
            dim=embedder.dim,
            scales=scales,
            spaces=embedder.spaces,
            settings=settings.identity,
        )
        appearance = open_appearance(settings, embedder)
        ladder = make_ladder(crops_per_track=4, depths=(deepest,), most_skipping=1)
        watch = Watch(
            cameras=day,
            parts={
                _CAMERA: CameraParts(
                    number=1,
                    tracker=ByteTracker(settings.tracker, appearance=appearance),
                    selector=CropSelector(_CAMERA, crops_per_track=4, crop_size=embedder.crop_size),
                    source_name=_CAMERA,
                )
            },
            detector=day,
            embedder=embedder,
            book=book,
            load=LoadController(ladder, {deepest: 1.0}, LoadSettings(budget_ms=0)),
            first_depth=None if first == deepest else first,
            run=1,
            deliver=lambda _: None,
            on_frame=on_frame,
        )
        progress = watch.run()
        _report(people, votes, gallery, day)
        click.echo(f"tracks by verdict: {dict(progress.verdicts)}; crops: {dict(progress.crops)}")


def _report(people: int, votes: dict[int, Counter[int]], gallery: SqliteGallery, day: Day) -> None:
    truth = {track: count.most_common(1)[0][0] for track, count in votes.items()}
    mixed = sum(len(count) > 1 for count in votes.values())
    # More sightings than tracks had crops cannot have been numbered.
    stored = gallery.get(range(1, 64 * len(votes) + 1))
    of_person: dict[int, Counter[int]] = defaultdict(Counter)
    for one in stored:
        if one.person_id is not None and one.track_id is not None:
            of_person[one.person_id][truth[one.track_id]] += 1
    foreign = sum(count.total() - count.most_common(1)[0][1] for count in of_person.values())
    templates = sum(count.total() for count in of_person.values())
    owners = Counter(count.most_common(1)[0][0] for count in of_person.values())
    click.echo(
        f"{people} people, {len(votes)} tracks ({mixed} of more than one person): "
        f"{len(of_person)} identities ({100 * len(of_person) / people - 100:+.0f} %); "
        f"{people - len(owners)} people without one, {sum(n > 1 for n in owners.values())} with "
        "more than one"
    )
    click.echo(f"{foreign} of {templates} templates lie with somebody else")
    third = max(1, len(day.rss_mib) // 3)
    click.echo(
        f"memory: {np.mean(day.rss_mib[third : 2 * third]):.0f} MiB in the second third of the "
        f"day, {np.mean(day.rss_mib[2 * third :]):.0f} MiB in the last"
    )


if __name__ == "__main__":
    main()
