"""Walks the page in a browser; where there is none, these tests are left out."""

import io
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from browsing import CHROMIUM, SIZES, serious, too_wide, wait_for_count
from fake_service import NOW_S, PEOPLE, Served, person_picture
from PIL import Image
from tests.conftest import NO_CHROMIUM

from adln.matching.calibration import Verdict
from adln.pipeline.sightings import SightingEvent
from adln.service.live import CameraPicture, CameraView, PersonInView, PipelineView, Scene

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ANNA = re.compile(r"Anna, (over )?\d\d % confidence")
SCHEMES = {"desktop": "light", "phone": "dark"}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


class NamedPerson(NamedTuple):
    person_id: int | None
    verdict: Verdict


def scene(*people: NamedPerson) -> Scene:
    return Scene(
        camera_id=1,
        time_s=NOW_S,
        width_px=640,
        height_px=360,
        people=tuple(
            PersonInView(
                track_id=at,
                box_xyxy=(100.0 * at, 90.0, 100.0 * at + 60, 250.0),
                person_id=one.person_id,
                verdict=one.verdict,
            )
            for at, one in enumerate(people, 1)
        ),
    )


def sighting_of(person_id: int) -> SightingEvent:
    return SightingEvent(
        event_id="e",
        camera_id=1,
        camera_name="yard",
        track_id=1,
        first_time_s=NOW_S,
        last_time_s=NOW_S,
        person_id=person_id,
        verdict="matched",
        probability=0.97,
        depth=2,
        model="c" * 64,
        box_xyxy=(0.0, 0.0, 9.0, 30.0),
        quality=0.9,
    )


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    made = {"anna": person_picture(0, 9), "stranger": person_picture(50), "broken": b"\xff\xd8\xff"}
    for name, content in made.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    return {name: tmp_path / f"{name}.jpg" for name in made}


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_becomes_a_plain_answer_with_visits_and_a_ranked_strip(
    served: Served, open_page: Callable[..., "Page"], pictures: dict[str, Path], size: str
) -> None:
    page = open_page(served.address, size, color_scheme=SCHEMES[size])
    page.set_input_files(".drop input", pictures["anna"])
    page.get_by_role("heading", name=ANNA).wait_for()
    assert page.locator(".answer .verdict").inner_text() == "Matched"
    # One verdict, and where they were last.
    assert page.locator("main .verdict").count() == 1
    assert " at yard, 2 visits" in page.locator(".answer .last").inner_text()
    assert page.locator(".visit-card").count() == 2
    page.get_by_text("Why?").click()
    assert "far less similar" in page.locator(".why").inner_text()
    page.get_by_text("Most similar sightings").click()
    assert page.locator(".strip > li").count() == 14
    first = page.locator(".strip > li").first
    assert "Anna" in first.inner_text()
    assert "gate" in first.inner_text() or "yard" in first.inner_text()
    assert serious(page) == []
    assert not too_wide(page)
    page.set_input_files(".drop input", pictures["stranger"])
    page.get_by_role("heading", name="No match").wait_for()
    assert page.locator(".answer .verdict").inner_text() == "Unknown"
    page.set_input_files(".drop input", pictures["broken"])
    page.get_by_role("alert").wait_for()


def test_a_filter_searches_again(
    served: Served, open_page: Callable[..., "Page"], pictures: dict[str, Path]
) -> None:
    page = open_page(served.address)
    page.set_input_files(".drop input", pictures["anna"])
    page.locator(".answer").wait_for()
    page.get_by_text("Filters").click()
    page.get_by_label("yard").check()
    wait_for_count(page, ".strip > li", 7)


def test_a_stranger_is_enrolled_and_found_by_the_next_search(
    served: Served, open_page: Callable[..., "Page"], pictures: dict[str, Path]
) -> None:
    page = open_page(served.address)
    page.set_input_files(".drop input", pictures["stranger"])
    page.get_by_role("button", name="Enrol this picture").click()
    page.get_by_label("Name (can be given later)").fill("Cleo")
    assert serious(page) == []
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_role("heading", name=re.compile(r"Cleo, (over )?\d\d % confidence")).wait_for()


@pytest.mark.parametrize("size", SIZES)
def test_a_timeline_shows_where_somebody_was_and_can_be_split_and_put_back(
    served: Served, open_page: Callable[..., "Page"], size: str
) -> None:
    page = open_page(served.address + "/#/people", size)
    page.get_by_role("link", name="Anna").click()
    page.get_by_role("heading", name="Timeline").wait_for()
    assert page.locator(".lane").count() == 2
    assert page.locator(".look").count() == 4
    assert serious(page) == []
    assert not too_wide(page)
    page.locator(".look input").first.check()
    # Whatever is drawn anew, what is chosen stays chosen for all to see.
    page.locator(".days button").first.click()
    assert page.locator(".look input").first.is_checked()
    page.get_by_role("button", name="Different person").click()
    page.get_by_role("button", name="Split").click()
    wait_for_count(page, ".look", 3)
    page.get_by_role("button", name="Undo").click()
    wait_for_count(page, ".look", 4)
    assert [person.num_sightings for person in served.gallery.persons()] == [4, 4, 4]


def test_somebody_without_sightings_has_a_page(
    served: Served, open_page: Callable[..., "Page"]
) -> None:
    person_id = served.gallery.enrol("Cleo")
    page = open_page(f"{served.address}/#/people/{person_id}")
    page.get_by_role("heading", name="Cleo").wait_for()
    page.get_by_text("No sightings").wait_for()


def test_people_are_merged_and_put_back(served: Served, open_page: Callable[..., "Page"]) -> None:
    page = open_page(served.address + "/#/people")
    page.get_by_label("Choose Anna").check()
    page.get_by_label("Choose Person 3").check()
    assert serious(page) == []
    page.get_by_role("button", name="Merge").click()
    page.locator("dialog").get_by_role("button", name="Merge").click()
    page.get_by_text("8 sightings at 2 cameras").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("4 sightings at 2 cameras").wait_for()
    assert sorted(person.num_sightings for person in served.gallery.persons()) == [4, 4, 4]


def test_a_name_is_given_and_taken_back(served: Served, open_page: Callable[..., "Page"]) -> None:
    page = open_page(served.address + "/#/people/1")
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="Name").fill("Bela")
    page.get_by_role("button", name="Save").click()
    # The name is taken: the dialog stays and says so.
    page.locator("dialog .error").wait_for()
    page.get_by_role("textbox", name="Name").fill("Ada")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Ada").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("heading", name="Anna").wait_for()


def test_forgetting_asks_twice_and_shows_its_proof(
    served: Served, open_page: Callable[..., "Page"]
) -> None:
    page = open_page(served.address + "/#/people/1")
    page.get_by_role("button", name="Forget").click()
    page.get_by_role("button", name="Forget permanently").click()
    page.get_by_role("alert").wait_for()
    assert len(served.gallery.persons()) == len(PEOPLE)
    page.get_by_label("Type Anna to confirm").fill("Anna")
    page.get_by_role("button", name="Forget permanently").click()
    page.get_by_role("heading", name="Erased and verified").wait_for()
    assert "4" in page.locator(".proof").inner_text()
    assert serious(page) == []
    page.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="Bela").wait_for()
    assert page.get_by_role("link", name="Anna").count() == 0


@pytest.mark.parametrize("size", SIZES)
def test_a_wrong_token_stays_outside_and_a_right_one_sees_what_its_role_may(
    make_served: Callable[..., Served], open_page: Callable[..., "Page"], size: str
) -> None:
    served = make_served(require_token=True)
    served.fill()
    page = open_page(served.address, size)
    page.get_by_label("Token").fill("adln_00000000_" + "A" * 43)
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("This token is not valid").wait_for()
    assert serious(page) == []
    assert page.locator(".tabs").is_hidden()
    page.get_by_label("Token").fill(served.tokens["viewer"])
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Search").wait_for()
    page.goto(served.address + "/#/people/1")
    page.get_by_role("heading", name="Anna").wait_for()
    assert page.get_by_role("button", name="Forget").count() == 0
    assert page.get_by_role("button", name="Rename").count() == 0
    # Another tab knows nothing of it.
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()


def test_cameras_show_live_who_is_there(served: Served, open_page: Callable[..., "Page"]) -> None:
    page = open_page(served.address + "/#/live")
    page.get_by_text("This service runs no camera").wait_for()
    served.cameras.views = [
        CameraView(camera_id=1, name="yard", state="running", fps=9, people=1, last_frame_s=NOW_S)
    ]
    page.get_by_role("link", name="Status").click()
    page.get_by_role("cell", name="yard").wait_for()
    assert serious(page) == []
    page.get_by_role("link", name="Live", exact=True).click()
    page.locator(".state.running", has_text="Live").wait_for()
    served.cameras.say(scene(NamedPerson(1, "matched"), NamedPerson(None, "unknown")))
    page.locator(".camera").get_by_role("link", name="Anna").wait_for()
    page.get_by_text("1 unknown").wait_for()
    # Without pictures: silhouettes where they are.
    assert page.locator(".stage svg svg").count() == 2
    assert page.locator(".stage img").is_hidden()
    served.cameras.say(sighting_of(1))
    page.locator(".feed").get_by_role("link", name="Anna").wait_for()
    assert "Matched · 97 %" in page.locator(".feed").inner_text()
    assert serious(page) == []


def test_a_name_stays_when_events_of_before_are_told_again_and_silence_is_noticed(
    served: Served, open_page: Callable[..., "Page"]
) -> None:
    served.cameras.views = [
        CameraView(camera_id=1, name="yard", state="running", fps=9, people=1, last_frame_s=NOW_S)
    ]
    page = open_page(served.address)
    served.events.publish("gallery", {"what": "name", "person_id": 1})
    served.cameras.say(sighting_of(1))
    page.clock.install()
    page.goto(served.address + "/#/live")
    page.locator(".feed").get_by_role("link", name="Anna").wait_for()
    page.locator(".head .state.running", has_text="Live").wait_for()
    # As if nothing had come for as long: a network that is gone does not say so.
    page.clock.fast_forward(41_000)
    page.get_by_text("Connection lost").wait_for()
    page.locator(".camera .state.lost", has_text="Not known").wait_for()
    page.clock.run_for(3_000)
    page.locator(".head .state.running", has_text="Live").wait_for()


@pytest.mark.parametrize("size", SIZES)
def test_what_cameras_see_is_shown_where_opted_in_with_names_on_it(
    served: Served, open_page: Callable[..., "Page"], size: str
) -> None:
    served.cameras.views = [
        CameraView(camera_id=1, name="yard", state="running", fps=9, people=1, last_frame_s=NOW_S)
    ]
    served.cameras.work = PipelineView(
        state="running", depth=2, crops_per_track=4, load_ms=200, budget_ms=800, pictures=True
    )
    served.cameras.pictures = {
        1: CameraPicture(camera_id=1, time_s=NOW_S, jpeg=person_picture(3, size=40))
    }
    page = open_page(served.address + "/#/live", size)
    page.locator(".state.running", has_text="Live").wait_for()
    page.get_by_text("25 % of the time budget").wait_for()
    served.cameras.say(scene(NamedPerson(2, "candidate")))
    page.locator(".stage img").wait_for()
    page.locator(".stage text", has_text="Bela?").wait_for()
    assert serious(page) == []
    assert not too_wide(page)


def test_trouble_with_all_cameras_is_said(served: Served, open_page: Callable[..., "Page"]) -> None:
    served.cameras.views = [
        CameraView(camera_id=1, name="yard", state="lost", fps=0, people=0, last_frame_s=None)
    ]
    served.cameras.work = PipelineView(state="failed", problem="There is no such detector.")
    page = open_page(served.address + "/#/live")
    page.get_by_role("alert").filter(has_text="There is no such detector.").wait_for()
    assert serious(page) == []
    page.get_by_role("link", name="Status").click()
    page.get_by_role("heading", name="Audit log").wait_for()
    page.get_by_text("There is no such detector.").wait_for()
    assert serious(page) == []


def test_an_empty_gallery_says_what_to_do_in_the_dark_as_well(
    make_served: Callable[..., Served], open_page: Callable[..., "Page"]
) -> None:
    page = open_page(make_served().address + "/#/people", color_scheme="dark")
    page.get_by_text("No one is enrolled yet").wait_for()
    assert serious(page) == []
    page.get_by_role("link", name="Search").click()
    page.get_by_text("Verdicts").wait_for()
    assert serious(page) == []


def test_pictures_show_only_where_they_are_kept(
    make_served: Callable[..., Served], open_page: Callable[..., "Page"]
) -> None:
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    page = open_page(served.address + "/#/people/1")
    wait_for_count(page, ".look img[src^='blob:']", 4)
    served.gallery.add([served.look(0, 7, 1, False)])
    page.reload()
    page.locator(".look svg").wait_for()
    assert page.locator(".look img").count() == 4


def test_the_page_is_walked_by_keyboard(served: Served, open_page: Callable[..., "Page"]) -> None:
    page = open_page(served.address + "/#/people")
    page.get_by_role("link", name="Anna").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(14):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Anna":
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Timeline").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Anna"


def test_a_whole_frame_is_told_so_and_the_person_marked_in_it_is_searched_for(
    served: Served, open_page: Callable[..., "Page"], tmp_path: Path
) -> None:
    # Anna in the middle of a wide grey picture.
    anna = Image.open(io.BytesIO(person_picture(0, 9, size=40)))
    scene_of_her = Image.new("RGB", (800, 160), "grey")
    scene_of_her.paste(anna, (320, 0))
    scene_of_her.save(tmp_path / "frame.png")
    page = open_page(served.address)
    page.set_input_files(".drop input", tmp_path / "frame.png")
    page.get_by_role("heading", name="Mark one person in it").wait_for()
    assert serious(page) == []
    box = page.locator(".cropper").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] - 1)
    page.mouse.up()
    page.get_by_role("button", name="Search for this person").click()
    page.get_by_role("heading", name="Anna, ").wait_for()


def test_a_pasted_picture_is_searched_for(
    served: Served, open_page: Callable[..., "Page"], pictures: dict[str, Path]
) -> None:
    page = open_page(served.address)
    page.locator(".drop").wait_for()
    content = list(pictures["anna"].read_bytes())
    page.evaluate(
        """(content) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(content)], "a.jpg", { type: "image/jpeg" }));
        document.body.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        content,
    )
    page.get_by_role("heading", name=ANNA).wait_for()


@pytest.mark.parametrize("size", SIZES)
def test_what_waits_for_a_decision_is_decided_by_keyboard_and_taken_back(
    make_served: Callable[..., Served], open_page: Callable[..., "Page"], size: str
) -> None:
    pytest.importorskip("sklearn")
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    again = served.gallery.enrol(None)
    served.gallery.add([served.look(1, 40 + at, again, True) for at in range(3)])
    page = open_page(served.address + "/#/review", size, color_scheme=SCHEMES[size])
    page.get_by_role("heading", name="Are these the same person?").wait_for()
    page.get_by_text("0 of 3 decided").wait_for()
    wait_for_count(page, ".side", 2)
    page.locator(".side img[src^='blob:']").nth(1).wait_for()
    assert serious(page) == []
    assert not too_wide(page)
    page.keyboard.press("m")
    page.get_by_text("1 of 3 decided").wait_for()
    assert [person.person_id for person in served.gallery.persons()] == [1, 2, 3]
    page.keyboard.press("u")
    page.get_by_text("0 of 3 decided").wait_for()
    assert {person.num_sightings for person in served.gallery.persons()} == {4, 3}
    # To the one without a name; three keys and the name.
    page.keyboard.press("j")
    page.get_by_role("heading", name="Who is this?").wait_for()
    page.keyboard.press("n")
    page.get_by_role("textbox", name="Name").or_(page.get_by_role("combobox")).wait_for()
    page.keyboard.type("Cleo")
    page.keyboard.press("Enter")
    page.get_by_text("1 of 3 decided").wait_for()
    assert served.gallery.persons()[2].name == "Cleo"
    # Nobody's yet are Cleo, too: a name that is known is the same person.
    page.keyboard.press("n")
    page.keyboard.type("Cleo")
    page.keyboard.press("Enter")
    page.get_by_text("2 of 3 decided").wait_for()
    assert served.gallery.persons()[2].num_sightings == 6
    page.keyboard.press("x")
    page.get_by_text("All done").wait_for()
    assert serious(page) == []
    page.reload()
    page.get_by_text("Nothing to review").wait_for()


def test_keys_of_a_view_that_was_left_while_it_loaded_do_nothing(
    served: Served, open_page: Callable[..., "Page"]
) -> None:
    again = served.gallery.enrol(None)
    served.gallery.add([served.look(1, 40 + at, again, True) for at in range(3)])
    page = open_page(served.address + "/#/people")
    page.get_by_role("link", name="Anna").wait_for()
    asked = []

    def slowly(route: "Route") -> None:
        asked.append(route.request.url)
        time.sleep(1.5)
        route.continue_()

    page.route("**/api/v1/review", slowly)
    with page.expect_response("**/api/v1/review"):
        page.evaluate(
            "location.hash = '#/review'; setTimeout(() => { location.hash = '#/people' }, 300)"
        )
    page.wait_for_timeout(500)
    assert asked
    page.get_by_role("link", name="Anna").wait_for()
    page.keyboard.press("m")
    page.wait_for_timeout(500)
    assert [person.person_id for person in served.gallery.persons()] == [1, 2, 3, again]


@pytest.mark.parametrize("size", SIZES)
def test_who_was_where_in_an_hour_of_a_day_takes_three_clicks_and_is_exported(
    served: Served, open_page: Callable[..., "Page"], size: str
) -> None:
    yesterday = datetime.now().astimezone().replace(hour=14, minute=20) - timedelta(days=1)
    looks = [
        replace(served.look(0, 0, 1, False), time_s=yesterday.timestamp(), camera_id=1),
        replace(served.look(1, 0, 2, False), time_s=yesterday.timestamp() + 60, camera_id=1),
        replace(served.look(1, 0, 2, False), time_s=yesterday.timestamp() - 7200, camera_id=1),
        replace(served.look(2, 0, 3, False), time_s=yesterday.timestamp(), camera_id=0),
    ]
    served.gallery.name_person(2, "=Bela")
    served.gallery.add(looks)
    page = open_page(served.address, size, color_scheme=SCHEMES[size])
    page.get_by_role("link", name="Follow").click()
    page.get_by_role("button", name="Yesterday", exact=True).click()
    page.get_by_role("button", name="yard, 14:00–15:00: 2 visits").click()
    page.get_by_text("yard, yesterday 14:00–15:00: 2 people.").wait_for()
    wait_for_count(page, ".visit-card", 2)
    assert serious(page) == []
    assert not too_wide(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    rows = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert rows[0] == '"person","name","camera","from","until","sightings"'
    assert [row.split(",")[1] for row in rows[1:]] == ['"Anna"', '"\'=Bela"']
    assert f"{yesterday:%Y-%m-%d %H:%M}" in rows[1]


def test_a_persons_day_is_zoomed_and_exported(
    served: Served, open_page: Callable[..., "Page"]
) -> None:
    page = open_page(served.address + "/#/people/1")
    page.get_by_role("heading", name="Timeline").wait_for()
    before = page.locator(".ticks").inner_text()
    page.get_by_role("button", name="Zoom in").click()
    assert page.locator(".ticks").inner_text() != before
    page.get_by_role("button", name="Show the whole time").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    assert len(download.value.path().read_text(encoding="utf-8-sig").splitlines()) == 3


def test_a_face_is_shown_and_enlarged_and_without_pictures_it_is_said_how_to_keep_them(
    make_served: Callable[..., Served], open_page: Callable[..., "Page"]
) -> None:
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    page = open_page(served.address + "/#/people")
    wait_for_count(page, ".people img[src^='blob:']", 3)
    page.get_by_role("button", name="Enlarge the picture of Anna").click()
    page.get_by_role("dialog", name="Anna").locator("img").wait_for()
    assert serious(page) == []
    bare = make_served()
    bare.fill()
    page = open_page(bare.address + "/#/people")
    page.get_by_text("--keep-pictures").wait_for()
    assert page.locator(".people img").count() == 0
