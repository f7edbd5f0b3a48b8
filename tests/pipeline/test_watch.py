"""The loop with real trackers, selectors and gallery; cameras, detector and network are fakes."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.cameras.detections import Detections
from adln.cameras.frames import CameraStatus, Frame
from adln.cameras.selection import CropSelector
from adln.cameras.tracker import ByteTracker
from adln.embeddings import unit_length
from adln.errors import CameraError, SettingsError
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Scales
from adln.matching.thresholds import StatedThresholds
from adln.pipeline.evidence import Answer, Evidence
from adln.pipeline.identity import IdentityBook
from adln.pipeline.load import Costs, LoadController, LoadSettings, make_ladder
from adln.pipeline.metrics import PipelineMetrics
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch import CameraParts, SeenFrame, TrackEnd, Watch

FPS = 10
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
Colour = tuple[int, int, int]
Walk = tuple[Colour, int, int, int]  # colour, first frame, last frame, left side


class Film:
    """Cameras before which people of one colour each stand; the colour is who they are."""

    def __init__(self, walks: dict[str, list[Walk]], *, frames: int = 60) -> None:
        self.walks = walks
        self.frames = frames
        self.dead: dict[str, range] = {}
        self.boxes: dict[tuple[str, int], list[tuple[float, ...]]] = {}

    def rounds(self) -> Iterator[list[Frame]]:
        for index in range(self.frames):
            yield [
                self.frame(name, index)
                for name in self.walks
                if index not in self.dead.get(name, range(0))
            ]

    def frame(self, name: str, index: int) -> Frame:
        rng = np.random.default_rng(index)
        image = rng.integers(90, 120, (240, 320, 3)).astype(np.uint8)
        boxes = []
        for colour, first, last, left in self.walks[name]:
            if first <= index <= last:
                box = (left + index % 3, 20, left + 60 + index % 3, 200)
                image[box[1] : box[3], box[0] : box[2]] = colour
                boxes.append(tuple(map(float, box)))
        self.boxes[name, index] = boxes
        return Frame(name, index, 1000.0 + index / FPS, image)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        found = []
        for frame in frames:
            boxes = self.boxes[frame.camera_id, frame.index]
            found.append(
                Detections(
                    np.array(boxes, np.float32).reshape(-1, 4),
                    np.full(len(boxes), 0.9, np.float32),
                )
            )
        return found

    def statuses(self) -> list[CameraStatus]:
        return [
            CameraStatus(name, "fake", "running", 0, 2, 0, 1, 0, "", None, 10.0)
            for name in self.walks
        ]


class MeanColour:
    """A network whose embedding is the mean colour, less grey; counts its batches."""

    digest = "cd"

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []

    def depth_name(self, depth: int) -> str:
        return f"Res{depth}"

    def embed(self, crops: NDArray[np.uint8], depth: int) -> dict[int, NDArray[np.float32]]:
        self.batches.append((len(crops), depth))
        colours = crops[:, 40:-40, 20:-20].mean(axis=(1, 2)) - 80
        return {at: unit_length(colours) for at in range(1, depth + 1)}


Run = Callable[..., tuple[Watch, list[SightingEvent]]]


@pytest.fixture
def make_watch(tmp_path: Path) -> Iterator[Run]:
    opened = []

    def make(
        film: Film,
        *,
        folder: str = "gallery",
        load: LoadController | None = None,
        run: int = 1,
        **changes: object,
    ) -> tuple[Watch, list[SightingEvent]]:
        gallery = SqliteGallery(tmp_path / folder, create=True)
        opened.append(gallery)
        said: list[SightingEvent] = []
        scale = StatedThresholds(match=0.9, candidate=0.8)
        scales = Scales(own=dict.fromkeys((1, 2, 3, 4), scale))
        values: dict[str, object] = {
            "cameras": film,
            "parts": {
                name: CameraParts(
                    number=number,
                    tracker=ByteTracker(),
                    selector=CropSelector(name),
                    source_name="film",
                )
                for number, name in enumerate(film.walks, 1)
            },
            "detector": film,
            "embedder": MeanColour(),
            "book": IdentityBook(gallery, digest="cd", dim=3, scales=scales),
            "load": load or fixed_load(),
            "run": run,
            "deliver": said.append,
        }
        return Watch(**{**values, **changes}), said  # type: ignore[arg-type]

    yield make
    for gallery in opened:
        gallery.close()


def fixed_load() -> LoadController:
    ladder = make_ladder(crops_per_track=4, depths=(2,), most_skipping=1)
    return LoadController(ladder, {2: 1.0}, LoadSettings(budget_ms=0))


class DepthsApart(MeanColour):
    """A network that gives each depth by itself, and is blind to blue at the first."""

    def embed(self, crops: NDArray[np.uint8], depth: int) -> dict[int, NDArray[np.float32]]:
        self.batches.append((len(crops), depth))
        colours = crops[:, 40:-40, 20:-20].mean(axis=(1, 2)) - 80
        if depth == 1:
            # Blue looks as much like red as like itself.
            colours[:, 0] = np.maximum(colours[:, 0], 0.7 * colours[:, 2])
        return {depth: unit_length(colours)}


def last_of_each_track(said: list[SightingEvent]) -> dict[tuple[str, int], SightingEvent]:
    return {(event.camera_name, event.track_id): event for event in said}


def persons(said: list[SightingEvent], camera: str) -> list[int | None]:
    found = last_of_each_track(said)
    return [event.person_id for key, event in found.items() if key[0] == camera]


def test_a_person_has_one_id_under_all_cameras_and_others_have_others(make_watch: Run) -> None:
    film = Film({"a": [(RED, 0, 25, 50), (GREEN, 0, 25, 200)], "b": [(RED, 30, 55, 100)]})
    watch, said = make_watch(film)
    progress = watch.run()
    red, green = persons(said, "a")
    assert None not in (red, green)
    assert red != green
    assert persons(said, "b") == [red]
    assert progress.identities == 2
    assert progress.tracks == {"a": 2, "b": 1}


def test_two_people_who_look_alike_are_two_when_seen_together(make_watch: Run) -> None:
    watch, said = make_watch(Film({"a": [(RED, 0, 50, 50), (RED, 0, 50, 200)]}))
    watch.run()
    first, second = persons(said, "a")
    assert None not in (first, second)
    assert first != second


def test_the_same_film_gives_the_same_sightings(make_watch: Run) -> None:
    walks = {"a": [(RED, 0, 25, 50), (GREEN, 10, 40, 200)], "b": [(BLUE, 5, 50, 100)]}
    bodies = []
    for folder in ("one", "two"):
        watch, said = make_watch(Film(walks), folder=folder)
        watch.run()
        bodies.append([event.to_json() for event in said])
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) >= 3


def test_ids_survive_a_restart(make_watch: Run) -> None:
    watch, said = make_watch(Film({"a": [(RED, 0, 50, 50)]}))
    watch.run()
    again, said_again = make_watch(Film({"a": [(RED, 0, 50, 150)]}), run=2)
    again.run()
    assert persons(said_again, "a") == persons(said, "a")
    assert said_again[-1].verdict == "matched"
    assert [event.new_person for event in (said[-1], said_again[-1])] == [True, False]
    assert {event.track_id for event in said}.isdisjoint(event.track_id for event in said_again)


def test_every_track_ends_with_a_sighting_and_leaves_nothing_behind(make_watch: Run) -> None:
    ends: list[TrackEnd] = []
    film = Film({"a": [(RED, 0, 12, 50), (GREEN, 50, 59, 50)]})
    watch, said = make_watch(film, on_track_end=ends.append)
    watch.run()
    assert [end.event for end in ends] == list(last_of_each_track(said).values())
    assert all(end.crop is not None for end in ends)
    assert watch._open == {}
    assert watch._book.num_open == 0


def test_asking_it_to_stop_ends_open_tracks(make_watch: Run) -> None:
    film = Film({"a": [(RED, 0, 59, 50)]})
    watch, said = make_watch(film)
    watch.run(should_stop=lambda: watch.progress.rounds >= 20)
    assert watch.progress.rounds == 20
    assert said[-1].last_time_s == pytest.approx(1000 + 19 / FPS)
    assert watch._open == {}


def test_crops_of_all_cameras_go_through_the_network_together(make_watch: Run) -> None:
    network = MeanColour()
    film = Film({name: [(RED, 0, 30, 50)] for name in "abc"})
    make_watch(film, embedder=network)[0].run()
    assert all(crops % 3 == 0 for crops, _ in network.batches)


def test_the_tracks_of_a_camera_that_dies_end_and_the_others_go_on(make_watch: Run) -> None:
    film = Film({"a": [(RED, 0, 99, 50)], "b": [(GREEN, 0, 99, 50)]}, frames=100)
    film.dead["a"] = range(20, 70)
    watch, said = make_watch(film)
    watch.run()
    of_a = [event for event in said if event.camera_name == "a"]
    assert len({event.track_id for event in of_a}) == 2
    assert len({event.person_id for event in of_a}) == 1
    assert watch.progress.frames == {"a": 50, "b": 100}


class Shaky(Film):
    """Some frames of camera a cannot be used."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        if any(frame.camera_id == "a" and frame.index % 7 == 3 for frame in frames):
            raise CameraError("this frame is no picture")
        return super().detect(frames)


def test_a_frame_that_cannot_be_used_costs_its_own_camera_only(
    make_watch: Run, caplog: pytest.LogCaptureFixture
) -> None:
    watch, said = make_watch(Shaky({"a": [(RED, 0, 55, 50)], "b": [(GREEN, 0, 55, 50)]}))
    watch.run()
    assert len(persons(said, "a")) == len(persons(said, "b")) == 1
    assert caplog.text.count("this frame is no picture") == 1


class Odd(MeanColour):
    """Fails on crops of one colour, with an error that nobody foresaw."""

    def embed(self, crops: NDArray[np.uint8], depth: int) -> dict[int, NDArray[np.float32]]:
        if (crops[:, 128, 64, 1] > 180).any():
            raise ValueError("not this one")
        return super().embed(crops, depth)


def test_a_crop_that_cannot_be_embedded_costs_its_own_track_only(
    make_watch: Run, caplog: pytest.LogCaptureFixture
) -> None:
    film = Film({"a": [(RED, 0, 55, 50), (GREEN, 0, 55, 200)]})
    watch, said = make_watch(film, embedder=Odd())
    watch.run()
    red, green = persons(said, "a")
    assert red is not None
    assert green is None
    assert "not this one" in caplog.text
    assert watch._open == {}


def test_a_person_who_cannot_be_decided_costs_nobody_else(
    make_watch: Run, caplog: pytest.LogCaptureFixture
) -> None:
    watch, said = make_watch(Film({"a": [(RED, 0, 55, 50)], "b": [(GREEN, 0, 55, 50)]}))
    decide = watch._book.decide

    def choosy(evidence: Sequence[Evidence]) -> list[Answer]:
        if any(one.camera == 1 for one in evidence):
            raise SettingsError("no space for camera 1")
        return decide(evidence)

    watch._book.decide = choosy  # type: ignore[method-assign]
    watch.run()
    assert persons(said, "a") == []
    assert None not in persons(said, "b")
    assert set(watch.progress.failures) == {"a"}
    assert "no space for camera 1" in caplog.text
    assert watch._open == {}


def test_a_listener_that_fails_does_not_end_the_watch(make_watch: Run) -> None:
    def broken(_: object) -> None:
        raise OSError("no space left")

    film = Film({"a": [(RED, 0, 55, 50)]})
    watch, said = make_watch(film, on_frame=broken, on_track_end=broken)
    progress = watch.run()
    assert len(persons(said, "a")) == 1
    assert progress.failures["a"] == 61


class Mixed(Film):
    """Camera b is live, half a century after the recording of camera a."""

    def frame(self, name: str, index: int) -> Frame:
        frame = super().frame(name, index)
        time_s = frame.time_s + (1.6e9 if name == "b" else 0.0)
        return Frame(name, index, time_s, frame.image)


def test_recorded_and_live_cameras_keep_their_own_times(make_watch: Run) -> None:
    film = Mixed({"a": [(RED, 0, 50, 50)], "b": [(GREEN, 0, 50, 50)]})
    parts = {
        name: CameraParts(
            number=number,
            tracker=ByteTracker(),
            selector=CropSelector(name),
            source_name="film",
            live=name == "b",
        )
        for number, name in enumerate(film.walks, 1)
    }
    watch, said = make_watch(film, parts=parts)
    progress = watch.run()
    assert progress.tracks == {"a": 1, "b": 1}
    assert progress.video_s == pytest.approx(5.9)
    first = {event.camera_name: event.first_time_s for event in said}
    assert first["a"] == pytest.approx(1000)
    assert first["b"] == pytest.approx(1.6e9 + 1000)


class Leap(Film):
    """The clock is set by years in the middle."""

    def frame(self, name: str, index: int) -> Frame:
        frame = super().frame(name, index)
        leap_s = 1.7e9 if index >= 30 else 0.0
        return Frame(name, index, frame.time_s + leap_s, frame.image)


def test_nobody_is_seen_for_years_because_a_clock_was_set(make_watch: Run) -> None:
    watch, said = make_watch(Leap({"a": [(RED, 0, 59, 50)]}))
    watch.run()
    assert all(event.last_time_s - event.first_time_s < 10 for event in said)
    assert len({event.track_id for event in said}) == 2
    assert len({event.person_id for event in said}) == 1


def test_a_crowd_is_met_with_fewer_crops_then_less_depth(make_watch: Run) -> None:
    ladder = make_ladder(crops_per_track=4, depths=(1, 4), most_skipping=4)
    costs = Costs(frame_ms=5, crop_ms={1: 5.0, 4: 100.0})
    load = LoadController(ladder, dict(costs.crop_ms), LoadSettings(budget_ms=100))
    network = MeanColour()
    crowd: list[Walk] = [((40 * k, 20, 250 - 40 * k), 12, 148, 45 * k + 2) for k in range(6)]
    film = Film({"a": crowd}, frames=150)
    watch, _ = make_watch(film, load=load, costs=costs, embedder=network)
    used = []
    watch.run(on_round=lambda now, _: used.append((now.crops_per_track, now.depth)))
    assert set(used) > {(4, 4), (1, 1)}
    assert watch.progress.steps >= 2
    assert watch.progress.frames["a"] + watch.progress.skipped["a"] == 150


def test_metrics_count_what_was_done(make_watch: Run) -> None:
    metrics = PipelineMetrics()
    watch, said = make_watch(Film({"a": [(RED, 0, 50, 50)]}), metrics=metrics)
    watch.run()
    value = metrics.registry.get_sample_value
    assert value("adln_frames_total", {"camera": "a"}) == 60
    assert value("adln_frames_dropped_total", {"camera": "a"}) == 2
    assert value("adln_depth") == 2
    assert value("adln_identities") == 1
    assert value("adln_sightings_total", {"camera": "a", "verdict": "unknown"}) == len(said)


def test_no_picture_leaves_unless_wanted(make_watch: Run) -> None:
    for wanted, folder in ((False, "without"), (True, "with")):
        watch, said = make_watch(Film({"a": [(RED, 0, 50, 50)]}), pictures=wanted, folder=folder)
        watch.run()
        assert {event.crop_jpeg is not None for event in said} == {wanted}
        stored = next(iter(watch._book._gallery.iterate()))
        assert any(one.thumbnail is not None for one in stored) == wanted


def test_pictures_are_kept_of_the_cameras_that_are_named(make_watch: Run) -> None:
    film = Film({"a": [(RED, 0, 50, 50)], "b": [(GREEN, 0, 50, 50)]})
    watch, said = make_watch(film, pictures=frozenset({"b"}))
    watch.run()
    assert {event.camera_name for event in said if event.crop_jpeg is not None} == {"b"}
    assert {event.camera_name for event in said} == {"a", "b"}
    stored = [one for batch in watch._book._gallery.iterate() for one in batch]
    assert {one.camera_id for one in stored if one.thumbnail is not None} == {2}
    assert {one.camera_id for one in stored} == {1, 2}


def test_frames_are_shown_with_their_people(make_watch: Run) -> None:
    shown: list[SeenFrame] = []
    watch, said = make_watch(Film({"a": [(RED, 0, 59, 50)]}), on_frame=shown.append)
    watch.run()
    assert len(shown) == 60
    assert shown[-1].people[0].person_id == said[-1].person_id


def run_program(program: str) -> list[str]:
    # In a process of its own: a signal concerns all libraries of a process.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_signal_asks_to_stop_and_the_handlers_come_back(number: str) -> None:
    program = f"""
import signal
from adln.pipeline.watch import stopping_on_signals
signal.signal(signal.{number}, signal.SIG_DFL)
with stopping_on_signals(lambda: print("asked")):
    signal.raise_signal(signal.{number})
print(signal.getsignal(signal.{number}) is signal.SIG_DFL)
"""
    assert run_program(program) == ["asked", "True"]


def test_a_closed_terminal_does_not_stop_what_was_started_to_outlive_it() -> None:
    program = """
import signal
from adln.pipeline.watch import stopping_on_signals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with stopping_on_signals(lambda: print("asked")):
    signal.raise_signal(signal.SIGHUP)
print("on")
"""
    assert run_program(program) == ["on"]


def test_every_sighting_says_why_in_one_line_of_the_log_as_well(
    make_watch: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "adln.pipeline.watch")
    film = Film({"a": [(RED, 0, 25, 50)], "b": [(RED, 30, 55, 100)]})
    watch, said = make_watch(film)
    watch.run()
    assert said[0].reason.startswith("enrolled as person 1: nobody was enrolled before")
    assert said[0].score is None
    again = said[-1]
    assert again.score == pytest.approx(1, abs=1e-3)
    assert (again.threshold, again.runner_up_id) == (0.9, None)
    assert again.reason == "person 1 1.00 reaches 0.90; nobody else was compared"
    lines = [record.message for record in caplog.records if "track" in record.message]
    assert len(lines) == len(said)
    assert lines[-1] == f"b, track 1: matched ({again.reason})"


def test_only_those_of_whom_the_shallow_depth_is_not_sure_are_looked_at_deeper(
    make_watch: Run,
) -> None:
    network = DepthsApart()
    again = [(RED, 30, 55, 50)]
    film = Film({"a": [(RED, 0, 25, 50), (BLUE, 0, 25, 200)], "b": again}, frames=60)
    watch, said = make_watch(film, embedder=network, first_depth=1)
    progress = watch.run()
    red, blue = persons(said, "a")
    assert None not in (red, blue)
    assert red != blue
    # New people are kept as the deeper depth sees them; who comes back is known at the first.
    assert {event.depth for event in said if event.camera_name == "a"} == {2}
    assert persons(said, "b") == [red]
    assert {event.depth for event in said if event.camera_name == "b"} == {1}
    crops_of_b = progress.crops[1] - progress.crops[2]
    assert crops_of_b >= 2


def test_the_load_may_forbid_a_deeper_look(make_watch: Run) -> None:
    network = DepthsApart()
    ladder = make_ladder(crops_per_track=4, depths=(1,), most_skipping=1)
    load = LoadController(ladder, {1: 1.0}, LoadSettings(budget_ms=0))
    film = Film({"a": [(RED, 0, 25, 50)]})
    watch, said = make_watch(film, embedder=network, first_depth=1, load=load)
    watch.run()
    assert {depth for _, depth in network.batches} == {1}
    assert persons(said, "a") == [1]


def test_a_track_that_is_looked_at_deeper_stays_comparable_when_the_load_falls(
    make_watch: Run,
) -> None:
    ladder = make_ladder(crops_per_track=4, depths=(1, 2), most_skipping=1)
    load = LoadController(ladder, {1: 1.0, 2: 2.0}, LoadSettings(budget_ms=1, window_s=1.5))
    film = Film({"a": [(RED, 0, 50, 50)]})
    watch, said = make_watch(
        film,
        embedder=DepthsApart(),
        first_depth=1,
        load=load,
        costs=Costs(frame_ms=1, crop_ms={1: 1.0, 2: 2.0}),
    )
    progress = watch.run()
    assert progress.depth == 1
    assert progress.crops[2] > 0
    assert persons(said, "a") == [1]
    assert not progress.failures
