"""Cameras are added, changed and removed on the page; what is kept of them; what they see."""

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from fake_service import NOW_S, Served, person_picture

from adln.errors import CameraError
from adln.gallery.retention import DAY_S, Retention
from adln.pipeline.roster import enter_cameras, read_cameras
from adln.service.live import CameraPicture, CameraView, PipelineView
from adln.service.tidying import Tidying

SECRET = "rtsp://eve:geheim@10.0.0.7/stream"
MakeServed = Callable[..., Served]


def added(served: Served, name: str = "hall", source: str = SECRET) -> int:
    answer = served.client.post("/api/v1/setup/cameras", json={"name": name, "source": source})
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["camera_id"]
    return number


def listed(served: Served) -> list[dict[str, Any]]:
    cameras: list[dict[str, Any]] = served.client.get("/api/v1/setup/cameras").json()["cameras"]
    return cameras


def changed(served: Served, number: int, **asked: Any) -> Any:
    return served.client.put(f"/api/v1/setup/cameras/{number}", json=asked)


def test_a_camera_is_renamed_and_found_elsewhere_and_the_watch_takes_it_up(
    served: Served,
) -> None:
    number = added(served)
    enter_cameras(served.gallery.folder, {"hall": number})
    answer = changed(served, number, name="lobby")
    assert answer.json() == {
        "camera_id": number,
        "name": "lobby",
        "source": "rtsp://***@10.0.0.7/stream",
        "is_watched": True,
    }
    assert served.cameras.watched is not None
    (camera,) = served.cameras.watched.cameras
    # The address is as it was, with its password.
    assert (camera.name, camera.source) == ("lobby", SECRET)
    # The gallery knows it by the new name, too: the watch would refuse it otherwise.
    assert read_cameras(served.gallery.folder) == {"lobby": number}
    assert served.client.get("/api/v1/status").json()["camera_names"][str(number)] == "lobby"
    assert changed(served, number, name="lobby", source="usb:0").status_code == 200
    assert served.cameras.watched.cameras[0].source == "usb:0"


def test_a_name_that_another_camera_has_or_had_is_refused(served: Served) -> None:
    hall, yard = added(served), added(served, "court", "usb:1")
    enter_cameras(served.gallery.folder, {"hall": hall, "court": yard, "attic": 77})
    for name in ("court", "attic"):
        answer = changed(served, hall, name=name)
        assert answer.status_code == 422, name
        assert "geheim" not in answer.text
    assert [one["name"] for one in listed(served)] == ["hall", "court"]
    assert read_cameras(served.gallery.folder)["hall"] == hall


def test_how_long_a_camera_is_kept_is_a_rule_of_the_gallery_at_once(served: Served) -> None:
    served.gallery.set_retention(Retention(keep_s=30 * DAY_S, camera_keep_s={1: DAY_S}))
    number = added(served)
    changed(served, number, name="hall", keep_days=7)
    assert served.gallery.retention == Retention(
        keep_s=30 * DAY_S, camera_keep_s={1: DAY_S, number: 7 * DAY_S}
    )
    answer = served.client.get("/api/v1/setup/cameras").json()
    assert answer["cameras"][0]["keep_days"] == 7
    assert answer["keep_days"] == 30
    # Nobody applies the rules here, and that is said.
    assert answer["applies_rules"] is False
    changed(served, number, name="hall")
    assert served.gallery.retention == Retention(keep_s=30 * DAY_S, camera_keep_s={1: DAY_S})


def test_a_rule_that_was_set_on_the_command_line_is_shown_and_can_be_lifted(
    served: Served,
) -> None:
    number = added(served)
    served.gallery.set_retention(Retention(camera_keep_s={number: 2 * DAY_S}))
    assert listed(served)[0]["keep_days"] == 2
    changed(served, number, name="hall")
    assert served.gallery.retention == Retention()


def test_the_rules_are_applied_to_what_was_seen_there(make_served: MakeServed) -> None:
    served = make_served()
    tidying = Tidying(served.gallery, served.state, every_s=3600, clock=lambda: NOW_S + 3 * DAY_S)
    served.tidied_by(tidying)
    served.fill()
    added(served, "gate")
    # Camera 0 is the gate.
    assert listed(served)[0]["camera_id"] == 0
    changed(served, 0, name="gate", keep_days=1)
    tidying.apply()
    left = [one for batch in served.gallery.iterate() for one in batch]
    assert {one.camera_id for one in left} == {1}
    assert served.client.get("/api/v1/setup/cameras").json()["applies_rules"] is True


def test_whether_pictures_are_kept_is_said_by_camera(make_served: MakeServed) -> None:
    served = make_served(keep_pictures=True)
    hall, yard = added(served), added(served, "court", "usb:1")
    assert changed(served, hall, name="hall", pictures=False).status_code == 200
    answer = served.client.get("/api/v1/setup/cameras").json()
    assert answer["pictures"] is True
    assert {one["camera_id"]: one["pictures"] for one in answer["cameras"]} == {
        hall: False,
        yard: None,
    }
    written = tomllib.loads(served.settings.own_watch.read_text())
    assert written["cameras"][0]["pictures"] is False
    assert "pictures" not in written["cameras"][1]


def test_a_camera_is_removed_and_what_was_seen_there_stays(served: Served) -> None:
    number = added(served, "gate")
    before = served.gallery.count()
    answer = served.client.delete(f"/api/v1/setup/cameras/{number}")
    assert answer.json()["is_watched"] is True
    assert served.cameras.watched is not None
    assert served.cameras.watched.cameras == ()
    assert served.gallery.count() == before
    assert served.client.get("/api/v1/status").json()["camera_names"]["0"] == "gate"
    assert listed(served) == []
    # It comes back under its number.
    assert added(served, "gate") == number


def test_a_camera_that_an_alert_is_about_says_so(served: Served) -> None:
    number = added(served)
    rule = {"name": "night", "cameras": ["hall"], "url": "https://example.org/hook"}
    assert served.client.post("/api/v1/setup/alerts", json=rule).status_code == 201
    assert listed(served)[0]["alerts"] == ["night"]
    answer = served.client.delete(f"/api/v1/setup/cameras/{number}")
    assert answer.status_code == 409
    assert "night" in answer.json()["message"]
    assert changed(served, number, name="lobby").status_code == 200
    assert listed(served)[0]["alerts"] == ["night"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_camera_that_is_not_there_is_not_changed(served: Served, method: str) -> None:
    body = {"json": {"name": "x"}} if method == "PUT" else {}
    answer = served.client.request(method, "/api/v1/setup/cameras/9", **body)
    assert answer.status_code == 404


def test_of_a_file_that_cannot_be_read_nothing_is_told(served: Served) -> None:
    number = added(served)
    served.settings.own_watch.write_text("geheim = [\n")
    for answer in (
        served.client.get("/api/v1/setup/cameras"),
        changed(served, number, name="lobby"),
        served.client.delete(f"/api/v1/setup/cameras/{number}"),
        served.client.get("/api/v1/setup/alerts"),
    ):
        assert answer.status_code == 409
        assert "geheim" not in answer.text
    assert served.settings.own_watch.read_text() == "geheim = [\n"


def test_a_camera_of_the_file_is_tried_by_its_stored_address(served: Served) -> None:
    number = added(served)
    asked: list[str] = []
    served.asks_cameras_by(lambda source: asked.append(source) or person_picture(0))
    answer = served.client.post(f"/api/v1/setup/cameras/{number}/try")
    assert answer.content == person_picture(0)
    assert asked == [SECRET]
    assert served.client.post("/api/v1/setup/cameras/9/try").status_code == 404


def test_a_frame_is_as_large_as_the_camera_sends_it(make_served: MakeServed) -> None:
    served = make_served(keep_pictures=True)
    number = added(served)
    answer = served.client.get(f"/api/v1/cameras/{number}/frame")
    assert (answer.status_code, answer.content) == (200, person_picture(0))
    assert answer.headers["cache-control"] == "no-store"
    assert served.client.get("/api/v1/cameras/9/frame").status_code == 404


def test_where_no_pictures_are_shown_nobody_gets_a_frame(make_served: MakeServed) -> None:
    served = make_served(keep_pictures=True)
    number = added(served)
    changed(served, number, name="hall", pictures=False)
    assert served.client.get(f"/api/v1/cameras/{number}/frame").status_code == 409
    bare = make_served()
    number = added(bare)
    assert bare.client.get(f"/api/v1/cameras/{number}/frame").status_code == 409
    changed(bare, number, name="hall", pictures=True)
    assert bare.client.get(f"/api/v1/cameras/{number}/frame").status_code == 200


def test_a_camera_that_talks_to_the_watch_alone_gives_what_the_watch_has(
    make_served: MakeServed,
) -> None:
    served = make_served(keep_pictures=True)
    number = added(served)

    def refuse(source: str) -> bytes:
        raise CameraError(f"{source}: busy")

    served.asks_cameras_by(refuse)
    live = CameraPicture(camera_id=number, time_s=NOW_S, jpeg=person_picture(3))
    served.cameras.pictures = {number: live}
    answer = served.client.get(f"/api/v1/cameras/{number}/frame")
    assert (answer.status_code, answer.content) == (200, live.jpeg)


def test_what_a_camera_sees_is_not_shown_where_it_says_so(served: Served) -> None:
    served.cameras.work = PipelineView(state="running", pictures=True)
    served.cameras.views = [
        CameraView(
            camera_id=at,
            name=f"cam-{at}",
            state="running",
            fps=9,
            people=0,
            last_frame_s=None,
            pictures=at == 1,
        )
        for at in (1, 2)
    ]
    served.cameras.pictures = {
        at: CameraPicture(camera_id=at, time_s=NOW_S, jpeg=person_picture(at)) for at in (1, 2)
    }
    assert served.client.get("/api/v1/cameras/1/picture").status_code == 200
    assert served.client.get("/api/v1/cameras/2/picture").status_code == 404
    cameras = served.client.get("/api/v1/status").json()["cameras"]
    assert [one["pictures"] for one in cameras] == [True, False]


def test_every_change_is_in_the_log_without_names(served: Served) -> None:
    number = added(served)
    changed(served, number, name="lobby")
    served.client.delete(f"/api/v1/setup/cameras/{number}")
    rows = served.client.get("/api/v1/audit").json()["entries"]
    assert [row["action"] for row in rows[:3]] == ["remove camera", "change camera", "add camera"]
    assert "lobby" not in str(rows)
    assert "geheim" not in str(rows)
