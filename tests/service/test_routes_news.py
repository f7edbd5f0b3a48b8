"""What happened since somebody looked the last time."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fake_service import Served

from adln.service.live import CameraView
from adln.service.silences import Silence, Silences
from adln.service.state import ServiceState


def news(served: Served, *, headers: dict[str, str] | None = None, **asked: Any) -> dict[str, Any]:
    answer = served.client.post("/api/v1/news", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def seen_now(served: Served, number: int, person_id: int | None, ago_s: float = 60) -> None:
    look = served.look(number, 0, person_id, False)
    served.gallery.add([replace(look, time_s=time.time() - ago_s)])


def test_the_first_look_tells_the_last_day(served: Served) -> None:
    seen_now(served, 0, 1)
    seen_now(served, 2, 3)
    seen_now(served, 7, None)
    told = news(served)
    assert told["is_first"]
    assert told["whose"] == "machine"
    assert [(one["latest"]["name"], one["visits"]) for one in told["seen"]] == [("Anna", 1)]
    assert (told["unnamed_visits"], told["nobody_visits"]) == (1, 1)
    # All three were known long before.
    assert told["new_people"] == []


def test_what_was_seen_is_not_told_again_and_who_is_new_since_is(served: Served) -> None:
    seen_now(served, 0, 1)
    assert news(served)["seen"] != []
    told = news(served, seen=True)
    assert not told["is_first"]
    assert (told["seen"], told["new_people"], told["nobody_visits"]) == ([], [], 0)
    person_id = served.gallery.enrol("Cleo")
    # It is a while ago that they were seen: their number tells that they are new.
    served.gallery.add([served.look(9, 0, person_id, False)])
    served.client.put(f"/api/v1/persons/{person_id}/name", json={"name": "Cleo"})
    told = news(served)
    assert [one["name"] for one in told["new_people"]] == ["Cleo"]
    assert told["num_new_people"] == 1


def test_each_token_has_its_own_last_time(make_served: Callable[..., Served]) -> None:
    served = make_served(require_token=True)
    served.fill()
    seen_now(served, 0, 1)
    assert news(served, headers=served.as_("viewer"), seen=True)["seen"] == []
    told = news(served, headers=served.as_("admin"))
    assert told["is_first"]
    assert told["whose"] == "token"
    assert len(told["seen"]) == 1


def test_looks_within_half_an_hour_are_one(served: Served) -> None:
    now = [1e9]
    state = ServiceState(served.settings.state_folder, clock=lambda: now[0])
    assert state.look("a", newest_person=1) is None
    now[0] += 1000
    # Reading on does not lose what was new.
    assert state.look("a", newest_person=2) is None
    now[0] += 2000
    look = state.look("a", newest_person=5)
    assert look == (1e9 + 1000, 2)
    now[0] += 60
    assert state.look("a", newest_person=6) == look
    assert state.look("a", newest_person=7, seen=True) == (now[0], 7)
    assert state.look("b", newest_person=7) is None
    # Looking is no deed: the log does not grow.
    assert state.entries(newest=5) == []
    state.close()


def test_a_look_of_long_ago_is_cut_and_said_to_be(served: Served) -> None:
    state = ServiceState(served.settings.state_folder, clock=lambda: time.time() - 30 * 86400)
    state.look("", newest_person=3)
    state.close()
    told = news(served)
    assert told["is_cut"]
    assert told["since_s"] > time.time() - 8 * 86400


def view(state: str, last_frame_s: float | None = None) -> CameraView:
    return CameraView(
        camera_id=1, name="yard", state=state, fps=0, people=0, last_frame_s=last_frame_s
    )


def test_a_silence_is_told_with_its_end_and_a_short_one_is_not() -> None:
    now = [1000.0]
    silences = Silences(clock=lambda: now[0])
    silences.see([view("lost", 990.0)])
    now[0] += 5
    silences.see([view("running", 1005.0)])
    assert silences.since(0) == []
    silences.see([view("lost", 1004.0)])
    now[0] += 100
    silences.see([view("connecting", 1004.0)])
    assert silences.since(0) == [Silence(1, 1004.0, None)]
    silences.see([view("running", 1105.0)])
    assert silences.since(1100) == [Silence(1, 1004.0, 1105.0)]
    # What was over before is no news; a camera that is taken away is not silent.
    assert silences.since(1105) == []
    silences.see([view("lost", 1105.0)])
    now[0] += 100
    silences.see([])
    now[0] += 1000
    assert [one.until_s for one in silences.since(1105)] == [1205.0]


def test_silent_cameras_are_in_the_news(served: Served) -> None:
    served.cameras.views = [
        CameraView(
            camera_id=1,
            name="yard",
            state="lost",
            fps=0,
            people=0,
            last_frame_s=time.time() - 7200,
            last_error="",
        )
    ]
    news(served)
    until = time.monotonic() + 10
    while not (told := news(served)["silences"]) and time.monotonic() < until:
        time.sleep(0.2)
    assert [(one["camera_name"], one["until_s"]) for one in told] == [("yard", None)]
