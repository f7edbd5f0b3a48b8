import asyncio
import contextlib
import json
from collections.abc import Callable

import httpx
import pytest
from fake_service import Served

from adln.pipeline.sightings import SightingEvent
from adln.service.live import CameraView, Events, PersonInView, Scene


def sighting(number: int, person_id: int | None = 7) -> SightingEvent:
    return SightingEvent(
        event_id=f"event{number}",
        camera_id=1,
        camera_name="yard",
        track_id=number,
        first_time_s=1.0,
        last_time_s=2.0,
        person_id=person_id,
        verdict="unknown" if person_id is None else "matched",
        probability=0.9,
        depth=2,
        model="ab" * 32,
        box_xyxy=(0.0, 0.0, 10.0, 20.0),
        quality=0.5,
        crop_jpeg=b"picture",
    )


def test_all_listeners_get_all_events_and_those_who_come_back_what_they_missed() -> None:
    async def listen() -> None:
        events = Events()
        for number in range(3):
            events.take(sighting(number))
        first, second = events.listen(), events.listen(after=2)
        assert [await anext(first), await anext(second)] == ["retry: 2000\n\n"] * 2
        assert (await anext(second)).startswith("id: 3\nevent: sighting\n")
        events.publish("gallery", {"what": "name"})
        for listener in (first, second):
            assert await anext(listener) == 'id: 4\nevent: gallery\ndata: {"what":"name"}\n\n'
        assert events.listeners == 2
        events.close()
        assert [text async for text in first] == []
        await second.aclose()
        assert events.listeners == 0

    asyncio.run(listen())


def test_a_slow_listener_loses_the_oldest_and_is_told() -> None:
    async def listen() -> None:
        events = Events()
        listener = events.listen()
        await anext(listener)
        for number in range(600):
            events.publish("gallery", {"n": number})
        assert await anext(listener) == 'event: lost\ndata: {"events":100}\n\n'
        assert '{"n":100}' in await anext(listener)
        await listener.aclose()

    asyncio.run(listen())


def test_of_somebody_forgotten_no_event_is_kept() -> None:
    async def listen() -> None:
        events = Events()
        events.take(sighting(1, 7))
        events.take(sighting(2, 8))
        events.forget(7)
        listener = events.listen(after=0)
        await anext(listener)
        assert '"person_id":8' in await anext(listener)
        await listener.aclose()

    asyncio.run(listen())


def test_nor_of_those_who_became_them_nor_of_those_whom_the_gallery_does_not_know() -> None:
    async def listen() -> None:
        events = Events()
        for number, person_id in enumerate((6, 3, 8, 9), 1):
            events.take(sighting(number, person_id))
        slow = events.listen(after=0)
        await anext(slow)
        # 6 was merged into 3 here, 8 into 3 by another program.
        events.moved([6], 3)
        events.forget(3, known={1, 9})
        assert '"person_id":9' in await anext(slow)
        late = events.listen(after=0)
        await anext(late)
        assert '"person_id":9' in await anext(late)
        for listener in (slow, late):
            await listener.aclose()

    asyncio.run(listen())


def test_a_listener_that_may_listen_no_more_hears_nothing_more() -> None:
    async def listen() -> None:
        events = Events()
        may = True
        listener = events.listen(caller="anna", may_listen=lambda: may)
        await anext(listener)
        assert (events.count_of("anna"), events.count_of("bela")) == (1, 0)
        events.publish("gallery", {"what": "name"})
        assert "gallery" in await anext(listener)
        may = False
        events.publish("gallery", {"what": "secret"})
        assert [text async for text in listener] == []
        assert events.listeners == 0

    asyncio.run(listen())


def test_who_is_where_goes_to_those_who_look_and_is_not_kept() -> None:
    async def listen() -> None:
        events = Events()
        person = PersonInView(
            track_id=4, box_xyxy=(1.0, 2.0, 3.0, 4.0), person_id=7, verdict="matched"
        )
        scene = Scene(camera_id=1, time_s=5.0, width_px=64, height_px=36, people=(person,))
        events.take(scene)
        listener = events.listen(after=0)
        await anext(listener)
        events.take(scene)
        text = await anext(listener)
        assert text.startswith("event: scene\ndata: ")
        assert json.loads(text.partition("data: ")[2])["people"][0]["box_xyxy"] == [1, 2, 3, 4]
        await listener.aclose()

    asyncio.run(listen())


def test_a_page_gets_sightings_without_pictures_cameras_and_changes(served: Served) -> None:
    served.cameras.views = [
        CameraView(camera_id=1, name="yard", state="lost", fps=0, people=0, last_frame_s=None)
    ]
    with served.client.stream("GET", "/api/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        served.cameras.say(sighting(5))
        httpx.put(f"{served.address}/api/v1/persons/1/name", json={"name": "Ada"})
        kinds: dict[str, dict[str, object]] = {}
        kind = ""
        for line in lines:
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                kinds[kind] = json.loads(line[6:])
            if len(kinds) == 3:
                break
    assert kinds["sighting"]["event_id"] == "event5"
    assert "crop_jpeg" not in kinds["sighting"]
    assert kinds["gallery"] == {"what": "name", "person_id": 1}
    assert kinds["cameras"]["cameras"][0]["state"] == "lost"  # type: ignore[index]


def test_too_many_pages_are_turned_away(make_served: Callable[..., Served]) -> None:
    served = make_served(max_listeners=1)
    with served.client.stream("GET", "/api/v1/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        assert httpx.get(f"{served.address}/api/v1/events").status_code == 503


def test_a_revoked_token_ends_its_stream_though_nothing_happens(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(require_token=True)
    headers = served.as_("viewer")
    with served.client.stream("GET", "/api/v1/events", headers=headers, timeout=20) as answer:
        lines = answer.iter_lines()
        next(lines)
        served.state.revoke(served.tokens["viewer"].split("_")[1])
        # Without an end this would be a time-out, or a heartbeat.
        assert [line for line in lines if line.startswith("event: sighting")] == []
    assert served.events.listeners == 0


def test_one_token_does_not_take_all_places(make_served: Callable[..., Served]) -> None:
    served = make_served(require_token=True, max_listeners=8)
    url = f"{served.address}/api/v1/events"
    with contextlib.ExitStack() as stack:
        heard = []
        for _ in range(2):
            answer = stack.enter_context(httpx.stream("GET", url, headers=served.as_("viewer")))
            # Kept, because a stream ends with who reads its lines.
            heard.append(answer.iter_lines())
            next(heard[-1])
        answer = stack.enter_context(httpx.stream("GET", url, headers=served.as_("viewer")))
        assert answer.status_code == 429
        answer = stack.enter_context(httpx.stream("GET", url, headers=served.as_("admin")))
        assert answer.status_code == 200


@pytest.mark.parametrize("last", ["x", "-1", "1" * 30])
def test_a_strange_last_event_is_refused(served: Served, last: str) -> None:
    headers = {"Last-Event-ID": last}
    assert served.client.get("/api/v1/events", headers=headers).status_code == 422
