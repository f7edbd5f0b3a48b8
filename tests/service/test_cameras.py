"""The cameras' process, and who keeps it alive."""

import logging
import os
import socket
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from adln.gallery.records import ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import (
    CameraSettings,
    HomeAssistantSettings,
    JsonlSettings,
    MetricsSettings,
    MqttSettings,
    WatchSettings,
    read_watch_settings,
)
from adln.service.camera_process import Order
from adln.service.cameras import WatchedCameras
from adln.service.live import CameraPicture, CameraView, PipelineView, Scene
from adln.service.logs import JsonFormatter, TextFormatter
from adln.service.messages import SHOW, STOP, Ended, Report, encode

JPEG = b"\xff\xd8\xffpicture"
SETTINGS = WatchSettings(
    cameras=(CameraSettings(name="yard", number=1, source="rtsp://192.0.2.1/"),), pictures=True
)
RUNNING = Report(
    cameras=(
        CameraView(camera_id=1, name="yard", state="running", fps=9.0, people=1, last_frame_s=5.0),
    ),
    pipeline=PipelineView(state="running", depth=2, pictures=True),
)
SCENE = Scene(camera_id=1, time_s=5.0, width_px=64, height_px=36, people=())


def until(is_so: Callable[[], bool], within_s: float = 30.0) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def until_ended(cameras: WatchedCameras) -> None:
    def has_ended() -> bool:
        pipeline = cameras.pipeline()
        assert pipeline is not None
        assert not pipeline.problem
        return pipeline.state == "ended"

    until(has_ended, 60)


def work_well(link: Connection, order: Order) -> None:
    link.send_bytes(encode(RUNNING))
    link.send_bytes(encode(SCENE))
    while (asked := link.recv_bytes()) != STOP:
        assert asked == SHOW
        link.send_bytes(encode(CameraPicture(camera_id=1, time_s=5.0, jpeg=JPEG)))
    (order.folder / "ended").touch()
    link.send_bytes(encode(Ended()))


def crash_once(link: Connection, order: Order) -> None:
    try:
        (order.folder / "crashed").touch(exist_ok=False)
    except FileExistsError:
        work_well(link, order)
    else:
        os._exit(3)


def fail_to_begin(link: Connection, order: Order) -> None:
    link.send_bytes(encode(Ended(problem="There is no such detector.")))


def hang(link: Connection, order: Order) -> None:
    link.send_bytes(encode(RUNNING))
    time.sleep(3600)


class Harmful:
    """What does harm where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self._folder / "taken over",)


def send_harm_first(link: Connection, order: Order) -> None:
    link.send(Harmful(order.folder))
    link.send_bytes(b"")
    link.send_bytes(b"r" + b"[" * 100_000)
    link.send_bytes(encode(SCENE).replace(b'"camera_id":1', b'"camera_id":2'))
    work_well(link, order)


def send_harm_only(link: Connection, order: Order) -> None:
    while True:
        link.send(Harmful(order.folder))


def send_too_much(link: Connection, order: Order) -> None:
    link.send_bytes(b"p" + bytes(2**23))
    work_well(link, order)


def stop_midway(link: Connection, order: Order) -> None:
    # It announces a megabyte, and brings a part of it.
    os.write(link.fileno(), (2**20).to_bytes(4, "big") + b"p" * 1000)
    time.sleep(3600)


SECRET_SOURCE = "rtsp://admin:p@ss/hunter2@192.0.2.1/live?pwd=hunter3"


def tell_secrets(link: Connection, order: Order) -> None:
    source = order.settings.cameras[0].source
    (view,) = RUNNING.cameras
    told = replace(view, last_error=f"{source}: no video came")
    pipeline = PipelineView(state="running", problem=f"cannot open {source!r}.")
    link.send_bytes(encode(Report(cameras=(told,), pipeline=pipeline)))
    while link.recv_bytes() != STOP:
        pass
    link.send_bytes(
        encode(Ended(problem=f"cannot open {source!r}, nor 'rtsp://other:hunter2@192.0.2.2/'"))
    )


def order_in(folder: Path) -> Order:
    return Order(settings=SETTINGS, folder=folder, gallery=folder / "gallery")


def test_what_the_process_says_is_told_and_it_ends_in_order(tmp_path: Path) -> None:
    told: list[SightingEvent | Scene] = []
    cameras = WatchedCameras(order_in(tmp_path), work=work_well)
    assert [view.state for view in cameras.cameras()] == ["connecting"]
    cameras.start(told.append)
    until(lambda: bool(told))
    assert told == [SCENE]
    assert cameras.cameras() == RUNNING.cameras
    assert cameras.pipeline() == RUNNING.pipeline
    # The first one who asks has the pictures made; they come a moment later.
    until(lambda: cameras.picture(1) is not None)
    assert cameras.picture(2) is None
    cameras.stop()
    assert (tmp_path / "ended").exists()
    pipeline = cameras.pipeline()
    assert pipeline is not None
    assert pipeline.state == "stopped"
    assert cameras.picture(1) is None


def test_a_crash_is_told_and_the_process_is_started_again(tmp_path: Path) -> None:
    cameras = WatchedCameras(order_in(tmp_path), work=crash_once, first_pause_s=0.3)
    problems: set[str] = set()

    def is_back() -> bool:
        pipeline = cameras.pipeline()
        assert pipeline is not None
        problems.add(pipeline.problem)
        return pipeline.state == "running" and pipeline.restarts == 1

    cameras.start(lambda event: None)
    until(is_back)
    cameras.stop()
    assert "The camera process ended with status 3." in problems


def test_what_cannot_be_read_is_counted_and_survived_and_nothing_of_it_is_run(
    tmp_path: Path,
) -> None:
    told: list[SightingEvent | Scene] = []
    cameras = WatchedCameras(order_in(tmp_path), work=send_harm_first)
    cameras.start(told.append)
    until(lambda: bool(told))
    cameras.stop()
    pipeline = cameras.pipeline()
    assert pipeline is not None
    assert (told, pipeline.unread, pipeline.restarts) == ([SCENE], 4, 0)
    assert not (tmp_path / "taken over").exists()
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("work", [send_harm_only, send_too_much, stop_midway])
def test_a_process_in_other_hands_is_ended_and_started_again(
    tmp_path: Path, work: Callable[[Connection, Order], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adln.service.messages._PATIENCE_S", 1)
    monkeypatch.setattr("adln.service.cameras._KILL_S", 0.1)
    cameras = WatchedCameras(order_in(tmp_path), work=work, first_pause_s=0.1)
    cameras.start(lambda event: None)

    def is_started_again() -> bool:
        pipeline = cameras.pipeline()
        assert pipeline is not None
        return pipeline.restarts >= 1

    until(is_started_again)
    cameras.stop()
    assert not (tmp_path / "taken over").exists()


def test_passwords_of_cameras_are_shown_to_nobody_and_logged_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    camera = CameraSettings(name="yard", number=1, source=SECRET_SOURCE)
    order = Order(
        settings=WatchSettings(cameras=(camera,)), folder=tmp_path, gallery=tmp_path / "gallery"
    )
    cameras = WatchedCameras(order, work=tell_secrets)
    cameras.start(lambda event: None)

    def has_told() -> bool:
        return any(view.last_error for view in cameras.cameras())

    until(has_told)
    shown = f"{cameras.cameras()} {cameras.pipeline()}"
    cameras.stop()
    assert "no video came" in shown
    assert "hunter" not in shown
    assert "hunter" not in f"{cameras.cameras()} {cameras.pipeline()}"
    for formatter in (TextFormatter(cameras.sources), JsonFormatter(cameras.sources)):
        record = logging.LogRecord("adln", 40, "", 1, "no %s there", (SECRET_SOURCE,), None)
        line = formatter.format(record)
        assert "rtsp://" in line
        assert "hunter" not in line
    assert "hunter" not in "".join(capfd.readouterr())


def test_an_event_that_nobody_can_take_does_not_end_the_watching(tmp_path: Path) -> None:
    told: list[SightingEvent | Scene] = []

    def refuse(event: SightingEvent | Scene) -> None:
        told.append(event)
        raise ZeroDivisionError

    cameras = WatchedCameras(order_in(tmp_path), work=work_well)
    cameras.start(refuse)
    until(lambda: bool(told))
    until(lambda: cameras.picture(1) is not None)
    cameras.stop()


def test_why_it_cannot_begin_is_told_and_stopping_does_not_wait_for_the_next_try(
    tmp_path: Path,
) -> None:
    cameras = WatchedCameras(order_in(tmp_path), work=fail_to_begin, first_pause_s=600.0)
    cameras.start(lambda event: None)

    def has_failed() -> bool:
        pipeline = cameras.pipeline()
        return pipeline is not None and pipeline.problem == "There is no such detector."

    until(has_failed)
    assert [view.state for view in cameras.cameras()] == ["lost"]
    cameras.stop()


def test_a_process_that_does_not_end_is_ended(tmp_path: Path) -> None:
    cameras = WatchedCameras(order_in(tmp_path), work=hang, stop_s=0.1)
    cameras.start(lambda event: None)
    until(lambda: cameras.cameras() == RUNNING.cameras)
    # It would sleep for an hour.
    cameras.stop()
    pipeline = cameras.pipeline()
    assert pipeline is not None
    assert pipeline.state == "stopped"


def test_drawn_people_are_watched_recognised_and_in_the_gallery(demo_folder: Path) -> None:
    order = Order(
        settings=read_watch_settings(demo_folder / "watch.toml"),
        folder=demo_folder,
        gallery=demo_folder / "gallery",
    )
    told: list[SightingEvent | Scene] = []
    cameras = WatchedCameras(order)
    cameras.start(told.append)

    def has_ended() -> bool:
        pipeline = cameras.pipeline()
        assert pipeline is not None
        assert not pipeline.problem
        cameras.picture(1)
        return pipeline.state == "ended"

    with SqliteGallery(demo_folder / "gallery") as gallery:
        before = gallery.count()
        until(has_ended, 60)
        assert gallery.count() > before
        people = {person.person_id for person in gallery.persons()}
    cameras.stop()
    sightings = [event for event in told if isinstance(event, SightingEvent)]
    assert "matched" in {event.verdict for event in sightings}
    assert {event.person_id for event in sightings} - {None} <= people
    scenes = [event for event in told if isinstance(event, Scene)]
    assert {scene.camera_id for scene in scenes} == {1, 2, 3}
    assert any(scene.people for scene in scenes)
    assert {view.state for view in cameras.cameras()} == {"ended"}


def test_a_camera_keeps_its_pictures_and_its_days_as_it_says(
    demo_folder: Path, tmp_path: Path
) -> None:
    settings = read_watch_settings(demo_folder / "watch.toml")
    first, *others = settings.cameras
    settings = replace(
        settings,
        cameras=(replace(first, pictures=False, keep_days=36_500), *others),
        pictures=True,
    )
    order = Order(settings=settings, folder=demo_folder, gallery=tmp_path / "gallery")
    cameras = WatchedCameras(order)
    cameras.start(lambda event: None)

    until_ended(cameras)
    views = {view.camera_id: view.pictures for view in cameras.cameras()}
    cameras.stop()
    assert views == {one.number: one.number != first.number for one in settings.cameras}
    with SqliteGallery(tmp_path / "gallery") as gallery:
        assert gallery.retention.camera_keep_s == {first.number: 36_500 * 86_400.0}
        stored = [one for batch in gallery.iterate() for one in batch]
    assert {one.camera_id for one in stored if one.thumbnail is None} == {first.number}
    assert {one.camera_id for one in stored if one.thumbnail is not None}


def test_home_assistant_may_be_told_without_a_receiver_of_sightings(
    demo_folder: Path, tmp_path: Path
) -> None:
    settings = replace(
        read_watch_settings(demo_folder / "watch.toml"),
        jsonl=JsonlSettings(path=""),
        mqtt=MqttSettings(host="127.0.0.1", port=1, sightings=False),
        home_assistant=HomeAssistantSettings(enabled=True),
    )
    order = Order(settings=settings, folder=demo_folder, gallery=tmp_path / "gallery")
    told: list[SightingEvent | Scene] = []
    cameras = WatchedCameras(order, first_pause_s=600.0)
    cameras.start(told.append)

    until_ended(cameras)
    cameras.stop()
    assert any(isinstance(one, SightingEvent) for one in told)


def test_the_metrics_of_the_cameras_tell_of_their_receivers(
    demo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = replace(
        read_watch_settings(demo_folder / "watch.toml"),
        outbox=str(tmp_path / "outbox.db"),
        jsonl=JsonlSettings(path=str(tmp_path / "sightings.jsonl")),
        metrics=MetricsSettings(port=port),
    )
    order = Order(settings=settings, folder=demo_folder, gallery=tmp_path / "gallery")
    cameras = WatchedCameras(order, first_pause_s=600.0)
    cameras.start(lambda event: None)

    def is_told() -> bool:
        pipeline = cameras.pipeline()
        assert pipeline is not None
        assert not pipeline.problem
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        except OSError:
            return False
        return 'adln_sink_pending{sink="jsonl"}' in text

    until(is_told, 60)
    cameras.stop()


def test_cameras_of_another_network_than_the_services_do_not_begin(
    demo_folder: Path, tmp_path: Path
) -> None:
    order = Order(
        settings=read_watch_settings(demo_folder / "watch.toml"),
        folder=demo_folder,
        gallery=tmp_path / "gallery",
        models=(ModelKey("ab" * 32, 2, 48),),
    )
    cameras = WatchedCameras(order, first_pause_s=600.0)
    cameras.start(lambda event: None)
    problems: set[str] = set()

    def has_failed() -> bool:
        pipeline = cameras.pipeline()
        assert pipeline is not None
        problems.add(pipeline.problem)
        return pipeline.state == "failed"

    until(has_failed, 60)
    cameras.stop()
    assert any("different networks cannot be compared" in problem for problem in problems)


@pytest.mark.parametrize("repeat", [False, True])
def test_recordings_are_of_their_time_or_repeated_as_if_taken_now(
    tmp_path: Path, repeat: bool
) -> None:
    starts: list[str] = []

    class Spied(WatchedCameras):
        """Looks at the order that would be given."""

        def _run_once(self) -> Ended:
            starts.append(self._next_order().settings.cameras[0].start)
            self._stop.set()
            return Ended()

    cameras = Spied(order_in(tmp_path), repeat=repeat)
    cameras.start(lambda event: None)
    until(lambda: bool(starts))
    cameras.stop()
    assert bool(starts[0]) is repeat


GATE = CameraSettings(name="gate", number=2, source="rtsp://192.0.2.2/", pictures=False)


def work_as_ordered(link: Connection, order: Order) -> None:
    """Tell which cameras there are and who is ignored, in a line of a file; see all of them."""
    cameras = order.settings.cameras
    names = ",".join(one.name for one in cameras)
    with (order.folder / "starts").open("a") as file:
        file.write(f"{names} without {','.join(order.settings.ignore)}\n")
    views = tuple(replace(RUNNING.cameras[0], camera_id=c.number, name=c.name) for c in cameras)
    link.send_bytes(encode(Report(cameras=views, pipeline=RUNNING.pipeline)))
    while link.recv_bytes() != STOP:
        pass
    # Open tracks are finished: what is told of them is of a camera that may be gone by now.
    link.send_bytes(encode(replace(SCENE, camera_id=cameras[0].number)))
    link.send_bytes(encode(Report(cameras=views, pipeline=RUNNING.pipeline)))
    link.send_bytes(encode(Ended()))


def starts(folder: Path) -> list[str]:
    path = folder / "starts"
    return path.read_text().splitlines() if path.exists() else []


def test_other_cameras_are_watched_from_then_on_and_open_tracks_are_finished(
    tmp_path: Path,
) -> None:
    told: list[SightingEvent | Scene] = []
    cameras = WatchedCameras(order_in(tmp_path), work=work_as_ordered)
    cameras.start(told.append)
    until(lambda: starts(tmp_path) == ["yard without "])
    until(lambda: cameras.cameras()[0].state == "running")
    assert cameras.watch(replace(SETTINGS, cameras=(GATE,), pictures=False))
    until(lambda: starts(tmp_path)[1:] == ["gate without "])
    until(lambda: [(one.name, one.state) for one in cameras.cameras()] == [("gate", "running")])
    cameras.stop()
    pipeline = cameras.pipeline()
    assert pipeline is not None
    # What the process said last was of cameras that were no longer asked for: that is no trouble.
    assert (pipeline.restarts, pipeline.unread) == (0, 0)
    assert [one.camera_id for one in told if isinstance(one, Scene)] == [1, 2]


def test_the_first_camera_is_watched_without_a_new_start_and_the_last_can_go(
    tmp_path: Path,
) -> None:
    order = replace(order_in(tmp_path), settings=WatchSettings())
    cameras = WatchedCameras(order, work=work_as_ordered)
    cameras.start(lambda event: None)
    assert cameras.cameras() == ()
    assert cameras.pipeline() is None
    assert cameras.watch(SETTINGS)
    until(lambda: [one.state for one in cameras.cameras()] == ["running"])
    assert cameras.watch(WatchSettings())
    until(lambda: cameras.pipeline() is None)
    assert cameras.watch(replace(SETTINGS, cameras=(GATE,)))
    until(lambda: [one.state for one in cameras.cameras()] == ["running"])
    cameras.stop()
    assert starts(tmp_path) == ["yard without ", "gate without "]


def end_at_once(link: Connection, order: Order) -> None:
    with (order.folder / "starts").open("a") as file:
        file.write(f"{order.settings.cameras[0].name}\n")
    link.send_bytes(encode(Ended()))


def test_when_recordings_have_ended_others_can_be_watched(tmp_path: Path) -> None:
    def has_ended() -> bool:
        pipeline = cameras.pipeline()
        return pipeline is not None and pipeline.state == "ended"

    cameras = WatchedCameras(order_in(tmp_path), work=end_at_once)
    cameras.start(lambda event: None)
    until(has_ended)
    cameras.watch(replace(SETTINGS, cameras=(GATE,)))
    until(lambda: starts(tmp_path) == ["yard", "gate"])
    cameras.stop()


def test_nobody_is_told_of_whom_to_ignore_and_the_same_again_changes_nothing(
    tmp_path: Path,
) -> None:
    order = order_in(tmp_path)
    order = replace(order, settings=replace(order.settings, ignore=("Otto",)))
    cameras = WatchedCameras(order, work=work_as_ordered)
    # Before the start there is nothing to begin again.
    cameras.ignore(frozenset({"Anna"}))
    cameras.start(lambda event: None)
    until(lambda: starts(tmp_path) == ["yard without Anna,Otto"])
    cameras.ignore(frozenset({"Anna"}))
    cameras.ignore(frozenset())
    until(lambda: starts(tmp_path)[1:] == ["yard without Otto"])
    # Other cameras later: those who are ignored stay so.
    cameras.ignore(frozenset({"Bela"}))
    cameras.watch(replace(SETTINGS, cameras=(GATE,)))
    until(lambda: starts(tmp_path)[-1] == "gate without Bela")
    cameras.stop()


def test_pictures_are_shown_of_cameras_that_have_not_said_otherwise(tmp_path: Path) -> None:
    order = order_in(tmp_path)
    both = replace(order.settings, cameras=(*order.settings.cameras, GATE))
    cameras = WatchedCameras(replace(order, settings=both), work=show_all)
    assert [one.pictures for one in cameras.cameras()] == [True, False]
    cameras.start(lambda event: None)
    until(lambda: cameras.picture(1) is not None)
    assert cameras.picture(2) is None
    cameras.stop()


def show_all(link: Connection, order: Order) -> None:
    while link.recv_bytes() == SHOW:
        for camera in order.settings.cameras:
            link.send_bytes(encode(CameraPicture(camera_id=camera.number, time_s=5.0, jpeg=JPEG)))
    link.send_bytes(encode(Ended()))
