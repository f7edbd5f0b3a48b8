import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from tests.pipeline.fake_frigate import TOKEN, FakeFrigate

from adln.errors import DeliveryError
from adln.gallery.clustering import group_sightings
from adln.gallery.records import NO_PERSON, Filter, ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Scales
from adln.matching.thresholds import StatedThresholds
from adln.pipeline.broker import Broker
from adln.pipeline.frigate import FrigateNamer
from adln.pipeline.frigate_api import FrigateApi
from adln.pipeline.frigate_news import FrigateNews
from adln.pipeline.roster import enter_cameras, read_cameras

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)
MODEL = ModelKey("ab" * 32, 2, 3)
NOON_S = 1_700_000_000.25


class MeanColour:
    """Embeds a crop as its mean colour."""

    crop_size = (256, 128)

    def embed(self, crops: NDArray[np.uint8], depth: int) -> dict[int, NDArray[np.float32]]:
        mean = crops.mean(axis=(1, 2)).astype(np.float32)
        return {depth: mean / np.linalg.norm(mean, axis=1, keepdims=True)}


@pytest.fixture
def make_frigate() -> Iterator[Callable[..., FakeFrigate]]:
    made: list[FakeFrigate] = []

    def make(**facts: Any) -> FakeFrigate:
        made.append(FakeFrigate(**facts))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert not one.faults


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True) as opened:
        yield opened


def api_of(fake: FakeFrigate, **facts: Any) -> FrigateApi:
    return FrigateApi(fake.url, **{"per_second": 1e6, **facts})


def namer_of(fake: FakeFrigate, gallery: SqliteGallery, *, write: bool = True) -> FrigateNamer:
    return FrigateNamer(
        api_of(fake),
        gallery,
        MeanColour(),
        model=MODEL,
        scales=Scales(own={2: StatedThresholds(match=0.95, candidate=0.9)}),
        write=write,
    )


def scan(namer: FrigateNamer, fake: FakeFrigate) -> None:
    namer.take_all(api_of(fake).events(after_s=NOON_S - 1, before_s=NOON_S + 1e6))


def name_all_red(gallery: SqliteGallery, name: str) -> int:
    red = np.array(RED) / np.linalg.norm(RED)
    alike = [
        record.sighting_id
        for batch in gallery.iterate(Filter(persons=frozenset({NO_PERSON})))
        for record in batch
        if record.embedding @ red > 0.95
    ]
    return gallery.split(alike, name)


def test_people_in_long_events_are_named_when_they_leave(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    namer = namer_of(fake, gallery)
    long = fake.somebody(RED, NOON_S, end_time=None)
    gone = fake.somebody(BLUE, NOON_S, end_time=None)
    before = fake.somebody(GREEN, NOON_S, camera="yard")
    for at_s in (NOON_S + 10.0, NOON_S + 7200.0):
        namer.poll(after_s=at_s - 3600.0, before_s=at_s)
        # What has ended is processed at once, what goes on is not.
        assert namer.counts == {"unknown": 1}
    fake.events[long].end_time = NOON_S + 7205.0
    del fake.events[gone]
    for at_s in (NOON_S + 7210.0, NOON_S + 7220.0):
        namer.poll(after_s=at_s - 3600.0, before_s=at_s)
        assert namer.counts == {"unknown": 2}
    ids = {event for event in (long, before) for one in fake.asked if f"{event}/snapshot" in one}
    assert ids == {long, before}


@pytest.mark.parametrize("version", ["0.16", "0.17", "0.18"])
def test_history_fills_the_gallery_and_names_go_back_once_somebody_gave_them(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery, version: str
) -> None:
    fake = make_frigate(version=version)
    for number in range(6):
        colour, camera = ((RED, "front_door"), (GREEN, "yard"))[number % 2]
        fake.somebody(colour, NOON_S + number, camera=camera)
    scan(namer_of(fake, gallery), fake)
    assert not fake.scores
    assert sorted(read_cameras(gallery.folder)) == ["front_door", "yard"]
    unknown = [record for batch in gallery.iterate() for record in batch]
    assert [record.person_id for record in unknown] == [None] * 6
    groups = group_sightings(unknown, threshold=0.95)
    assert sorted(len(group.sighting_ids) for group in groups) == [3, 3]
    name_all_red(gallery, "Anna")
    again = fake.somebody(RED, NOON_S + 100, camera="yard")
    other = fake.somebody(BLUE, NOON_S + 101)
    namer = namer_of(fake, gallery)
    scan(namer, fake)
    assert fake.events[again].sub_label == "Anna"
    assert 0 < (fake.scores[again] or 0) <= 1
    assert fake.events[other].sub_label is None
    assert len(fake.scores) == 1
    assert namer.counts == {"done before": 6, "matched": 1, "written": 1, "unknown": 1}
    assert gallery.count() == 8


def test_only_a_match_is_written_and_only_if_asked(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    fake.somebody(RED, NOON_S)
    scan(namer_of(fake, gallery), fake)
    name_all_red(gallery, "Anna")
    fake.somebody((200, 30, 120), NOON_S + 1)  # a candidate at most
    scan(namer_of(fake, gallery), fake)
    assert not fake.scores
    fake.somebody(RED, NOON_S + 2)
    scan(namer_of(fake, gallery, write=False), fake)
    assert not fake.scores
    assert not any(line.startswith("POST") for line in fake.asked)


def test_what_somebody_else_named_is_left_alone(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    fake.somebody(RED, NOON_S, sub_label="Ben")
    namer = namer_of(fake, gallery)
    scan(namer, fake)
    assert namer.counts == {"named before": 1}
    assert gallery.count() == 0


def test_an_event_is_fetched_once_in_a_run_whatever_became_of_it(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    event_id = fake.somebody(RED, NOON_S)
    fake.frames[event_id] = b"no picture"
    gone = fake.somebody(RED, NOON_S + 1)
    del fake.frames[gone]
    namer = namer_of(fake, gallery)
    scan(namer, fake)
    asked = len(fake.asked)
    scan(namer, fake)
    assert len(fake.asked) == asked + 1
    assert namer.counts == {"failed": 1, "without picture": 1}


def test_an_event_that_frigate_refuses_holds_up_no_other(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    fake.somebody(RED, NOON_S)
    scan(namer_of(fake, gallery, write=False), fake)
    gallery.split([1], "Ann")
    older, newer = (fake.somebody(RED, NOON_S + at) for at in (60, 120))
    fake.refused.add(newer)
    namer = namer_of(fake, gallery)
    scan(namer, fake)
    assert fake.events[older].sub_label == "Ann"
    assert namer.counts["failed"] == 1
    fake.refused.clear()
    scan(namer, fake)
    assert fake.events[newer].sub_label == "Ann", "it is tried again"


@pytest.mark.parametrize(
    "rubbish", [None, 7, {}, {"id": "a", "camera": "b", "start_time": float("nan")}]
)
def test_an_event_that_is_none_costs_itself_only(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery, rubbish: Any
) -> None:
    fake = make_frigate()
    fake.somebody(RED, NOON_S)
    fake.rubbish = [rubbish]
    scan(namer_of(fake, gallery), fake)
    assert gallery.count() == 1
    fake.events.clear()
    with pytest.raises(DeliveryError, match="not as in Frigate's documentation"):
        scan(namer_of(fake, gallery), fake)


def test_a_new_camera_gets_a_number_that_nobody_took_meanwhile(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    namer = namer_of(fake, gallery)
    enter_cameras(gallery.folder, {"yard": 1})
    fake.somebody(RED, NOON_S)
    scan(namer, fake)
    assert read_cameras(gallery.folder) == {"yard": 1, "front_door": 2}
    assert gallery.count(Filter(cameras=frozenset({2}))) == 1


def test_others_than_people_and_those_who_are_still_there_are_not_asked_for(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    fake.somebody(RED, NOON_S, label="dog")
    fake.somebody(RED, NOON_S + 1, end_time=None)
    fake.somebody(RED, NOON_S + 2, has_snapshot=False)
    scan(namer_of(fake, gallery), fake)
    assert gallery.count() == 0


def test_a_long_history_is_read_page_by_page(make_frigate: Callable[..., FakeFrigate]) -> None:
    fake = make_frigate()
    for number in range(205):
        fake.somebody(RED, NOON_S + number)
    found = list(api_of(fake).events(after_s=NOON_S - 1, before_s=NOON_S + 1e6))
    assert len({one.event_id for one in found}) == len(found) == 205
    assert len(fake.asked) == 3


def test_people_who_come_into_view_together_are_all_stored_once(
    make_frigate: Callable[..., FakeFrigate], gallery: SqliteGallery
) -> None:
    fake = make_frigate()
    for colour in (RED, GREEN, BLUE):
        fake.somebody(colour, NOON_S)
    scan(namer_of(fake, gallery), fake)
    assert gallery.count(Filter(from_s=NOON_S, until_s=NOON_S + 0.02)) == 3
    again = namer_of(fake, gallery)
    scan(again, fake)
    assert again.counts == {"done before": 3}
    assert gallery.count() == 3


def test_a_page_that_ends_between_people_of_one_moment_loses_nobody(
    make_frigate: Callable[..., FakeFrigate],
) -> None:
    fake = make_frigate()
    for number in range(101):
        fake.somebody(RED, NOON_S + number // 2)
    found = list(api_of(fake).events(after_s=NOON_S - 1, before_s=NOON_S + 1e6))
    assert len({one.event_id for one in found}) == len(found) == 101


def test_more_people_of_one_moment_than_a_page_holds_do_not_keep_it_reading(
    make_frigate: Callable[..., FakeFrigate],
) -> None:
    fake = make_frigate()
    for _ in range(130):
        fake.somebody(RED, NOON_S)
    fake.somebody(RED, NOON_S - 0.5)
    found = list(api_of(fake).events(after_s=NOON_S - 1, before_s=NOON_S + 1e6))
    assert len({one.event_id for one in found}) == len(found) == 101
    assert found[-1].start_s == NOON_S - 0.5


def test_frigate_is_not_asked_faster_than_allowed(make_frigate: Callable[..., FakeFrigate]) -> None:
    fake = make_frigate()
    now_s, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now_s[0] += seconds

    api = FrigateApi(fake.url, per_second=2.0, clock=lambda: now_s[0], sleep=sleep)
    event = api.event(fake.somebody(RED, NOON_S))
    api.picture(event.event_id)
    list(api.events(after_s=0.0, before_s=NOON_S + 1))
    assert slept == [0.5, 0.5]


def test_one_logs_in_by_a_user_or_a_token_and_neither_is_shown(
    make_frigate: Callable[..., FakeFrigate], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake = make_frigate(guarded=True)
    event_id = fake.somebody(RED, NOON_S)
    assert api_of(fake, user="ann", password="secret").event(event_id).event_id == event_id
    assert api_of(fake, token=TOKEN).event(event_id).event_id == event_id
    shown = []
    for facts in ({}, {"user": "ann", "password": "wrong-pass"}, {"token": "wrong-token"}):
        with pytest.raises(DeliveryError, match="Frigate refused") as caught:
            api_of(fake, **facts).event(event_id)
        shown.append(str(caught.value))
    for word in ("secret", "wrong-pass", "wrong-token", TOKEN):
        assert word not in caplog.text + str(shown)


@pytest.mark.parametrize(
    ("url", "facts", "fault"),
    [
        ("http://ann:hunter2@frigate:5000", {}, "must not hold"),
        ("http://frigate:5000?token=hunter2", {}, "must not hold"),
        ("http://frigate:8971", {"user": "ann", "password": "hunter2"}, "unencrypted"),
        ("http://frigate:8971", {"token": "hunter2"}, "unencrypted"),
        ("frigate", {}, "address like"),
        ("http://frigate:5000", {"per_second": 0.0}, "per_second"),
    ],
)
def test_an_address_that_would_give_a_secret_away_is_refused(
    url: str, facts: dict[str, Any], fault: str
) -> None:
    with pytest.raises(DeliveryError, match=fault) as caught:
        FrigateApi(url, **facts)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_frigate_is_said_so(make_frigate: Callable[..., FakeFrigate]) -> None:
    fake = make_frigate()
    with pytest.raises(DeliveryError, match="404"):
        api_of(fake).event("none")
    gone = FrigateApi("http://127.0.0.1:1", per_second=1e6)
    with pytest.raises(DeliveryError, match="cannot be reached"):
        gone.event("none")


def test_the_end_of_an_event_ends_the_wait(broker: Any) -> None:
    news = FrigateNews(threading.Event())
    news.listen(Broker("127.0.0.1", broker.port), "frigate")
    teller = Client(CallbackAPIVersion.VERSION2, client_id="frigate")
    teller.connect("127.0.0.1", broker.port)
    teller.loop_start()
    woken = threading.Thread(target=news.wait, args=(30.0,))
    woken.start()
    event = {"id": "1607123955.475377-mxklsc", "camera": "front_door", "label": "person"}
    for _ in range(100):
        for kind in ("new", "update", "end"):
            message = {"type": kind, "before": event, "after": event}
            teller.publish("frigate/events", json.dumps(message))
        woken.join(0.1)
        if not woken.is_alive():
            break
    assert not woken.is_alive()
    teller.disconnect()
    teller.loop_stop()
    news.close()


def test_a_broker_that_refuses_is_told_of_once(
    guarded_broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running, authority = guarded_broker
    broker = Broker(
        "localhost", running.port, username="ann", password="wrong", tls=True, ca_file=authority
    )
    news = FrigateNews(threading.Event())
    try:
        with caplog.at_level(logging.WARNING, "adln.pipeline.frigate_news"):
            news.listen(broker, "frigate")
            until = time.monotonic() + 20
            while not caplog.text and time.monotonic() < until:
                time.sleep(0.02)
        assert "refuses the connection" in caplog.text
    finally:
        news.close()


def test_other_news_are_no_news() -> None:
    news = FrigateNews(threading.Event())
    for payload in (
        b"no json",
        b"[" * 100_000,
        b"[]",
        json.dumps({"type": "new", "after": {"label": "person"}}).encode(),
        json.dumps({"type": "end", "after": {"label": "dog"}}).encode(),
    ):
        news._hear(payload)
    begun_s = time.monotonic()
    news.wait(0.2)
    assert time.monotonic() - begun_s < 1.0
