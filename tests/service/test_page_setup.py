"""Walks the set-up and the enrolment in a browser; where there is none, these are left out."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import CHROMIUM, SIZES, serious, too_wide, wait_for_count
from fake_service import NETWORK, NOW_S, Served, person_picture
from PIL import Image
from tests.conftest import NO_CHROMIUM

from adln.cameras.finding import FoundPerson
from adln.gallery.retention import DAY_S, Retention
from adln.service.live import CameraPicture, CameraView, PipelineView

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)

OpenPage = Callable[..., "Page"]
MakeServed = Callable[..., Served]
SCHEMES = ("light", "dark")
EVERYWHERE = [(size, scheme) for size in SIZES for scheme in SCHEMES]
HALL = {"name": "hall", "source": "rtsp://eve:geheim@10.0.0.7/stream"}
NIGHT = {"name": "night", "person": "unknown", "url": "https://home.example/hook/5ecret"}


def scene(*people: int) -> bytes:
    """People side by side on grey."""
    picture = Image.new("RGB", (800, 160), "grey")
    for at, number in enumerate(people):
        person = Image.open(io.BytesIO(person_picture(number, size=40))).resize((80, 160))
        picture.paste(person, (100 + 200 * at, 0))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


TWO = [FoundPerson((100.0 + 200 * at, 0.0, 180.0 + 200 * at, 160.0), 0.9) for at in range(2)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {"two": scene(50, 51), "other": scene(52, 50), "nobody": scene(), "broken": b"\x89PNG"}
    for name, content in made.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    (tmp_path / "crop.jpg").write_bytes(person_picture(50, 3, size=40))
    return {path.stem: path for path in tmp_path.glob("*.*g")}


@pytest.mark.parametrize(("size", "scheme"), EVERYWHERE)
def test_a_camera_is_changed_and_removed(
    served: Served, open_page: OpenPage, size: str, scheme: str
) -> None:
    served.gallery.set_retention(Retention(keep_s=30 * DAY_S))
    served.client.post("/api/v1/setup/cameras", json=HALL)
    page = open_page(served.address + "/#/setup", size, color_scheme=scheme)
    page.get_by_text("30 days, no pictures").wait_for()
    page.get_by_role("button", name="Change hall").click()
    # The address as it is stays, and can be tried; it is not in the page.
    page.get_by_role("button", name="Test picture").click()
    page.get_by_role("img", name="What this camera sees").wait_for()
    assert serious(page) == []
    page.get_by_role("textbox", name="Name").fill("lobby")
    page.get_by_label("Pictures of people").select_option("Stored and shown")
    page.get_by_label("Keep sightings for (days)").fill("7")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("7 days, with pictures").wait_for()
    assert served.cameras.watched is not None
    (camera,) = served.cameras.watched.cameras
    assert (camera.name, camera.source) == ("lobby", HALL["source"])
    assert (camera.pictures, camera.keep_days) == (True, 7)
    assert "geheim" not in page.content()
    assert not too_wide(page)
    page.get_by_role("button", name="Remove lobby").click()
    page.get_by_text("until they are 7 days old").wait_for()
    assert serious(page) == []
    page.locator("dialog").get_by_role("button", name="Remove").click()
    page.get_by_text("None yet.").first.wait_for()
    assert served.cameras.watched.cameras == ()


def test_how_cameras_are_is_seen_as_it_changes(served: Served, open_page: OpenPage) -> None:
    number = served.client.post("/api/v1/setup/cameras", json=HALL).json()["camera_id"]
    view = CameraView(
        camera_id=number, name="hall", state="connecting", fps=0, people=0, last_frame_s=None
    )
    served.cameras.views = [view]
    served.cameras.work = PipelineView(state="starting")
    page = open_page(served.address + "/#/setup")
    page.get_by_role("cell", name="Connecting…").wait_for()
    served.cameras.views = [replace(view, state="lost")]
    served.cameras.work = PipelineView(state="failed", problem="There is no such detector.")
    page.get_by_role("cell", name="No picture").wait_for()
    page.get_by_text("There is no such detector. The service retries automatically.").wait_for()
    served.cameras.views = [replace(view, state="running")]
    served.cameras.work = PipelineView(state="running")
    page.get_by_role("cell", name="Running").wait_for()
    assert page.get_by_text("There is no such detector.").count() == 0


def test_what_cannot_be_is_said_in_the_dialog_and_nothing_is_lost(
    served: Served, open_page: OpenPage
) -> None:
    served.client.post("/api/v1/setup/cameras", json=HALL)
    page = open_page(served.address + "/#/setup")
    page.get_by_role("button", name="Change hall").click()
    page.get_by_role("textbox", name="Name").fill("a/b")
    page.get_by_role("button", name="Save").click()
    page.locator("dialog .error").filter(has_text="cannot be called").wait_for()
    assert page.get_by_role("textbox", name="Name").input_value() == "a/b"
    page.get_by_role("button", name="Cancel").click()
    served.client.post("/api/v1/setup/alerts", json=NIGHT | {"cameras": ["hall"]})
    page.reload()
    page.get_by_role("button", name="Remove hall").click()
    page.get_by_text("Alerts use hall (night). Remove them first.").wait_for()
    assert page.locator("dialog").count() == 0


def test_where_a_restart_is_needed_the_page_says_so(served: Served, open_page: OpenPage) -> None:
    served.client.post("/api/v1/setup/cameras", json=HALL)
    served.cameras.takes_up = False
    page = open_page(served.address + "/#/setup")
    page.get_by_role("button", name="Change hall").click()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Takes effect when the service restarts.").wait_for()


@pytest.mark.parametrize(("size", "scheme"), EVERYWHERE)
def test_an_alert_is_added_and_removed(
    served: Served, open_page: OpenPage, size: str, scheme: str
) -> None:
    served.client.post("/api/v1/setup/cameras", json=HALL)
    page = open_page(served.address + "/#/setup", size, color_scheme=scheme)
    page.get_by_role("button", name="Add an alert").click()
    dialog = page.locator("dialog")
    dialog.get_by_label("Name", exact=True).fill("night")
    dialog.get_by_label("Who").select_option("Anna")
    dialog.get_by_label("hall").check()
    dialog.get_by_label("From (empty: always)").fill("22:00")
    dialog.get_by_label("Address").fill(NIGHT["url"])
    dialog.get_by_role("button", name="Add").click()
    dialog.locator(".error").filter(has_text="Set both times").wait_for()
    dialog.get_by_label("Until").fill("06:00")
    assert serious(page) == []
    dialog.get_by_role("button", name="Add").click()
    page.get_by_text("hall, 22:00–06:00; at most one per 10 minutes").wait_for()
    assert "5ecret" not in page.content()
    assert serious(page) == []
    assert not too_wide(page)
    assert served.cameras.watched is not None
    assert [one.person for one in served.cameras.watched.alerts] == ["Anna"]
    page.get_by_role("button", name="Remove the alert night").click()
    page.locator("dialog").get_by_role("button", name="Remove").click()
    page.get_by_text("An alert is sent as soon as someone is seen").wait_for()
    assert served.cameras.watched.alerts == ()


@pytest.mark.parametrize(("size", "scheme"), EVERYWHERE)
def test_how_recognising_stands_is_seen_with_the_next_step(
    make_served: MakeServed, open_page: OpenPage, size: str, scheme: str
) -> None:
    served = make_served(network=replace(NETWORK, verdict="proved", is_proved=True))
    served.fill()
    page = open_page(served.address + "/#/setup", size, color_scheme=scheme)
    page.get_by_text("Passed on this machine").wait_for()
    page.get_by_text("Everything is set up.").wait_for()
    served.gallery.add([served.look(0, at, 1, False) for at in range(200)])
    page.reload()
    page.get_by_text("adln adapt GALLERY --dry-run").wait_for()
    assert serious(page) == []
    assert not too_wide(page)


@pytest.mark.parametrize(("size", "scheme"), EVERYWHERE)
def test_somebody_is_enrolled_from_several_pictures_at_once(
    served: Served, open_page: OpenPage, files: dict[str, Path], size: str, scheme: str
) -> None:
    served.people_in_frames = TWO
    page = open_page(served.address + "/#/enrol", size, color_scheme=scheme)
    page.set_input_files(".drop input", [files["two"], files["nobody"], files["other"]])
    page.get_by_text("No person was detected in this picture.").wait_for()
    wait_for_count(page, ".found-people button.found", 4)
    page.get_by_text("Choose the person to enrol.").wait_for()
    assert page.get_by_role("button", name="Enrol", exact=True).is_disabled()
    page.get_by_role("button", name="Person 1 of 2, from the left").first.click()
    # In the picture itself, too.
    page.locator(".frame").nth(2).locator(".person-box").nth(1).click()
    page.get_by_text("2 pictures of the same person.").wait_for()
    assert serious(page) == []
    assert not too_wide(page)
    page.get_by_role("button", name="Remove nobody.png").click()
    page.get_by_role("combobox", name="Name").fill("Cleo")
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_role("heading", name="Cleo").wait_for()
    (cleo,) = [person for person in served.gallery.persons() if person.name == "Cleo"]
    assert cleo.num_sightings == 2


def test_pictures_of_somebody_who_is_known_are_added(
    served: Served, open_page: OpenPage, files: dict[str, Path]
) -> None:
    served.people_in_frames = [FoundPerson((0.0, 0.0, 160.0, 160.0), 0.9)]
    page = open_page(served.address + "/#/people")
    page.get_by_role("link", name="Enrol a person").click()
    page.set_input_files(".drop input", files["crop"])
    # The only one is meant, unless somebody says otherwise.
    page.get_by_text("1 picture of the same person.").wait_for()
    page.get_by_role("combobox", name="Name").fill("Anna")
    page.get_by_text("Anna is already enrolled: the pictures will be added.").wait_for()
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("heading", name="Anna").wait_for()
    assert {person.name: person.num_sightings for person in served.gallery.persons()}["Anna"] == 5


def test_without_a_detector_the_person_is_marked_by_hand(
    served: Served, open_page: OpenPage, files: dict[str, Path]
) -> None:
    served.without_detector()
    page = open_page(served.address + "/#/enrol")
    page.set_input_files(".drop input", [files["two"], files["crop"]])
    page.get_by_text("adln watch --fetch-detector").wait_for()
    assert serious(page) == []
    # What is a picture of one person already is used as it is.
    page.get_by_text("The whole picture is used.").wait_for()
    page.get_by_text("1 picture of the same person.").wait_for()
    box = page.locator(".cropper").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.24 * box["width"], box["y"] + box["height"] - 1)
    page.mouse.up()
    page.get_by_role("button", name="Use this person").click()
    page.get_by_text("2 pictures of the same person.").wait_for()
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_role("heading", name="Person 4").wait_for()
    assert {one.person_id: one.num_sightings for one in served.gallery.persons()}[4] == 2


def test_a_picture_without_a_person_or_that_is_none_is_told_in_plain_words(
    served: Served, open_page: OpenPage, files: dict[str, Path]
) -> None:
    served.people_in_frames = TWO
    page = open_page(served.address + "/#/enrol")
    page.set_input_files(".drop input", [files["nobody"], files["broken"]])
    page.get_by_text("No person was detected in this picture.").wait_for()
    page.get_by_role("alert").filter(has_text="picture").wait_for()
    assert page.get_by_role("button", name="Enrol", exact=True).is_disabled()
    # There is a way on.
    page.get_by_role("button", name="Mark by hand").click()
    page.get_by_role("button", name="Back").click()
    page.get_by_text("No person was detected in this picture.").wait_for()
    assert serious(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_somebody_is_enrolled_from_what_a_camera_sees_now(
    make_served: MakeServed, open_page: OpenPage, size: str
) -> None:
    served = make_served(keep_pictures=True)
    served.people_in_frames = TWO
    served.client.post("/api/v1/setup/cameras", json=HALL | {"name": "yard"})
    served.client.post("/api/v1/setup/cameras", json=HALL)
    served.asks_cameras_by(lambda source: scene(50, 51))
    served.cameras.work = PipelineView(state="running", pictures=True)
    served.cameras.views = [
        CameraView(
            camera_id=at,
            name=name,
            state="running",
            fps=9,
            people=0,
            last_frame_s=NOW_S,
            pictures=name == "hall",
        )
        for at, name in ((1, "yard"), (2, "hall"))
    ]
    page = open_page(served.address + "/#/enrol", size)
    page.get_by_role("button", name="hall").wait_for()
    # Of a camera that shows no pictures none can be taken.
    assert page.locator(".frames-from button").all_inner_texts() == ["hall"]
    page.get_by_role("button", name="hall").click()
    page.get_by_role("button", name="Person 2 of 2, from the left").click()
    page.get_by_role("combobox", name="Name").fill("Dana")
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_role("heading", name="Dana").wait_for()
    assert [one.num_sightings for one in served.gallery.persons()] == [1]


def test_a_viewer_cannot_enrol(make_served: MakeServed, open_page: OpenPage) -> None:
    served = make_served(require_token=True)
    served.fill()
    page = open_page(f"{served.address}/#token={served.tokens['viewer']}")
    page.get_by_role("link", name="People").click()
    page.get_by_role("link", name="Anna").wait_for()
    assert page.get_by_role("link", name="Enrol a person").count() == 0


def test_a_camera_of_which_no_pictures_are_shown_is_live_as_silhouettes(
    served: Served, open_page: OpenPage
) -> None:
    served.cameras.work = PipelineView(state="running", pictures=True)
    served.cameras.views = [
        CameraView(
            camera_id=at,
            name="cam",
            state="running",
            fps=9,
            people=0,
            last_frame_s=NOW_S,
            pictures=at == 0,
        )
        for at in (0, 1)
    ]
    served.cameras.pictures = {
        at: CameraPicture(camera_id=at, time_s=NOW_S, jpeg=person_picture(3)) for at in (0, 1)
    }
    page = open_page(served.address + "/#/live")
    page.locator(".camera").filter(has_text="gate").locator(".stage img").wait_for()
    assert page.locator(".camera").filter(has_text="yard").locator(".stage img").is_hidden()
