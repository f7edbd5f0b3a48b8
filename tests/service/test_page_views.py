"""The start page, moments, the way of a person, whole pictures and saved pages, in a browser."""

import io
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import CHROMIUM, SIZES, serious, too_wide, wait_for_count
from fake_service import NOW_S, Served, person_picture
from PIL import Image
from tests.conftest import NO_CHROMIUM

from adln.cameras.finding import FoundPerson
from adln.service.live import CameraPicture, CameraView, PipelineView

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)

OpenPage = Callable[..., "Page"]
SCHEMES = ("light", "dark")


@pytest.fixture
def house(make_served: Callable[..., Served]) -> Served:
    """Anna and somebody without a name were here a moment ago; pictures are kept."""
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    now_s = time.time()
    served.gallery.add(
        [
            replace(served.look(0, 0, 1, True), time_s=now_s - 300),
            replace(served.look(0, 1, 1, True), time_s=now_s - 60),
            replace(served.look(2, 0, 3, True), time_s=now_s - 90),
            replace(served.look(7, 1, None, True), time_s=now_s - 80),
        ]
    )
    return served


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_the_start_tells_what_is_new_and_leads_to_it(
    house: Served, open_page: OpenPage, size: str, scheme: str
) -> None:
    house.cameras.views = [
        CameraView(
            camera_id=1,
            name="yard",
            state="lost",
            fps=0,
            people=0,
            last_frame_s=time.time() - 7200,
        )
    ]
    page = open_page(house.address, size, color_scheme=scheme)
    page.get_by_role("heading", name="What is new").wait_for()
    page.get_by_role("heading", name="1 person with a name was seen").wait_for()
    assert "In the last day" in page.locator(".lead").inner_text()
    page.get_by_text(re.compile("2 visits, last today .* at yard")).wait_for()
    page.get_by_role("link", name="1 visit of unknown people").wait_for()
    assert serious(page) == []
    assert not too_wide(page)
    # Cameras are looked at every two seconds.
    page.wait_for_timeout(2500)
    page.reload()
    page.get_by_text("no picture since today").or_(
        page.get_by_text("no picture since yesterday")
    ).wait_for()
    page.get_by_role("link", name="Anna").click()
    page.get_by_role("heading", name="Anna").wait_for()


def test_what_counts_as_seen_is_not_new_any_more(house: Served, open_page: OpenPage) -> None:
    page = open_page(house.address)
    page.get_by_role("button", name="Mark all as seen").click()
    page.get_by_text("Nothing new").wait_for()
    assert "the last look on this machine" in page.locator(".lead").inner_text()
    assert page.get_by_role("button", name="Mark all as seen").is_hidden()
    assert serious(page) == []
    person_id = house.gallery.enrol("Cleo")
    house.gallery.add([replace(house.look(9, 0, person_id, True), time_s=time.time())])
    house.client.put(f"/api/v1/persons/{person_id}/name", json={"name": "Cleo"})
    page.reload()
    page.get_by_role("heading", name="1 new person").wait_for()
    page.locator(".faces").first.get_by_role("link", name="Cleo").wait_for()


def test_visits_of_nobody_yet_are_a_click_away(house: Served, open_page: OpenPage) -> None:
    page = open_page(house.address)
    page.get_by_role("link", name="1 visit of unknown people").click()
    page.get_by_role("heading", name="Follow").wait_for()
    wait_for_count(page, ".visit-card", 1)
    page.get_by_role("link", name="Who is it?").wait_for()


def test_an_empty_house_says_what_to_do(
    make_served: Callable[..., Served], open_page: OpenPage
) -> None:
    page = open_page(make_served().address)
    page.get_by_text("Nothing new").wait_for()
    page.get_by_role("link", name="Enrol a person").click()
    page.get_by_role("heading", name="Enrol a person").wait_for()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_a_sighting_opens_its_moment(
    house: Served, open_page: OpenPage, size: str, scheme: str
) -> None:
    page = open_page(house.address + "/#/follow", size, color_scheme=scheme)
    page.get_by_role("link", name=re.compile("^Anna at yard, ")).click()
    page.get_by_role("heading", name="Anna at yard").wait_for()
    page.locator(".shot.huge img[src^='blob:']").wait_for()
    page.get_by_role("link", name=re.compile("Before: gate")).wait_for()
    # Somebody without a name was there at the same time.
    page.locator(".visit-card").get_by_role("link", name="Person 3", exact=True).wait_for()
    assert serious(page) == []
    assert not too_wide(page)
    page.get_by_role("link", name="Back").click()
    page.get_by_role("heading", name="Follow").wait_for()


def test_a_moments_pictures_are_walked_by_keys(house: Served, open_page: OpenPage) -> None:
    oldest = house.gallery.newest_facts(limit=50)[-1]
    page = open_page(f"{house.address}/#/moment/{oldest.sighting_id}")
    page.get_by_text("picture 1 of 2").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_text("picture 2 of 2").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_text("picture 1 of 2").wait_for()


@pytest.mark.parametrize("where", ["people/999", "moment/99999"])
def test_what_is_gone_says_so_and_leads_back(
    served: Served, open_page: OpenPage, where: str
) -> None:
    page = open_page(f"{served.address}/#/{where}")
    page.get_by_role("heading", name="This no longer exists").wait_for()
    assert serious(page) == []
    page.get_by_role("link", name="Start page").click()
    page.get_by_role("heading", name="What is new").wait_for()


def test_a_persons_way_leads_from_camera_to_camera(house: Served, open_page: OpenPage) -> None:
    page = open_page(house.address + "/#/people/1")
    way = page.get_by_role("list", name="From camera to camera")
    way.wait_for()
    assert [text.split()[0] for text in way.locator("li").all_inner_texts()] == ["gate", "yard"]
    way.get_by_role("link", name=re.compile("^yard")).click()
    page.get_by_role("heading", name="Anna at yard").wait_for()


def test_the_other_of_a_merge_is_found_by_name(house: Served, open_page: OpenPage) -> None:
    for number in range(12):
        house.gallery.enrol(f"Guest {number}")
    page = open_page(house.address + "/#/people/1")
    page.get_by_role("button", name="Merge with…").click()
    wait_for_count(page, ".choice", 6)
    page.get_by_label("Name or number").fill("bel")
    wait_for_count(page, ".choice", 1)
    assert serious(page) == []
    page.locator("dialog").get_by_role("button", name="Merge").click()
    page.get_by_text("10 sightings at 2 cameras").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("6 sightings at 2 cameras").wait_for()
    # The old number is theirs again.
    assert {one.person_id: one.name for one in house.gallery.persons()}[2] == "Bela"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_people_in_a_whole_picture_are_found_and_one_is_chosen(
    served: Served, open_page: OpenPage, tmp_path: Path, size: str, scheme: str
) -> None:
    frame = Image.new("RGB", (800, 160), "grey")
    frame.paste(Image.open(io.BytesIO(person_picture(0, 9, size=40))), (320, 0))
    frame.save(tmp_path / "frame.png")
    served.people_in_frames = [
        FoundPerson((320.0, 0.0, 480.0, 160.0), 0.9),
        FoundPerson((20.0, 10.0, 90.0, 150.0), 0.5),
    ]
    page = open_page(served.address, size, color_scheme=scheme)
    page.set_input_files(".drop input", tmp_path / "frame.png")
    page.get_by_role("heading", name="Which person?").wait_for()
    assert serious(page) == []
    assert not too_wide(page)
    page.get_by_role("button", name="Search for person 1").click()
    page.get_by_role("heading", name="Anna, ").wait_for()


def test_a_picture_without_a_person_is_told_so(
    served: Served, open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "cat.jpg").write_bytes(person_picture(50))
    page = open_page(served.address + "/#/search")
    page.set_input_files(".drop input", tmp_path / "cat.jpg")
    page.get_by_text("No person was detected in this picture").wait_for()
    # Whoever is matched is a person.
    (tmp_path / "anna.jpg").write_bytes(person_picture(0, 9))
    page.set_input_files(".drop input", tmp_path / "anna.jpg")
    page.get_by_role("heading", name="Anna, ").wait_for()
    assert page.get_by_text("No person was detected").count() == 0


def test_somebody_unknown_who_was_seen_before_is_told_where(
    served: Served, open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "nobody.jpg").write_bytes(person_picture(7, 9))
    page = open_page(served.address + "/#/search")
    page.set_input_files(".drop input", tmp_path / "nobody.jpg")
    page.get_by_text("Seen before, but not enrolled").wait_for()
    assert page.locator("main .answer .verdict").inner_text() == "Unknown"
    # Why, without numbers that mean nothing to anybody.
    assert not re.search(r"0\.\d", page.locator(".why").inner_text())
    page.locator(".answer .last").get_by_role("link", name="Open").click()
    page.get_by_role("heading", name="Unknown person at yard").wait_for()


def test_a_day_is_saved_as_a_page_with_its_pictures(house: Served, open_page: OpenPage) -> None:
    house.gallery.name_person(1, "<b>Anna</b>")
    page = open_page(house.address + "/#/follow")
    wait_for_count(page, ".visit-card", 4)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export page").click()
    text = saved.value.path().read_text(encoding="utf-8")
    assert saved.value.suggested_filename.endswith(".html")
    assert text.count("data:image/jpeg;base64,") == 4
    # Names are text there, too, and nothing of it is fetched from anywhere.
    assert "&lt;b&gt;Anna&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "http" not in text.replace("data:image", "")


def test_a_camera_is_enlarged_and_made_small_again(served: Served, open_page: OpenPage) -> None:
    served.cameras.views = [
        CameraView(camera_id=n, name=name, state="running", fps=9, people=1, last_frame_s=NOW_S)
        for n, name in enumerate(("gate", "yard"))
    ]
    served.cameras.work = PipelineView(state="running", depth=2, crops_per_track=4, pictures=True)
    served.cameras.pictures = {
        n: CameraPicture(camera_id=n, time_s=NOW_S, jpeg=person_picture(3, size=40)) for n in (0, 1)
    }
    page = open_page(served.address + "/#/live")
    small = page.locator(".camera").nth(1).bounding_box()
    page.get_by_role("button", name="Enlarge yard").click()
    large = page.locator(".camera.big").bounding_box()
    assert small is not None
    assert large is not None
    assert large["width"] > 2 * small["width"]
    assert serious(page) == []
    page.get_by_role("button", name="Enlarge gate").click()
    wait_for_count(page, ".camera.big", 1)
    page.keyboard.press("Escape")
    wait_for_count(page, ".camera.big", 0)


def test_what_may_be_somebody_elses_is_shown_beside_both(
    make_served: Callable[..., Served], open_page: OpenPage
) -> None:
    pytest.importorskip("sklearn")
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    # A look at Bela that is with Anna.
    served.gallery.add([served.look(1, 30, 1, True)])
    page = open_page(served.address + "/#/review")
    page.get_by_role("heading", name="Is this Bela, not Anna?").wait_for()
    assert page.locator(".side h3").all_inner_texts() == ["This sighting", "Bela", "Anna"]
    assert serious(page) == []


VIEWS = ("start", "search", "people", "people/1", "review", "follow", "live", "status", "setup")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_for_everybody_in_both_schemes_and_fits_a_thumb(
    house: Served, open_page: OpenPage, view: str, scheme: str
) -> None:
    page = open_page(f"{house.address}/#/{view}", "phone", color_scheme=scheme)
    page.locator("h1").wait_for()
    assert serious(page) == []
    assert not too_wide(page)
    small = page.evaluate(
        """[...document.querySelectorAll('button, select, summary, .tabs a, a.button, label.pick,'
            + 'label.look-pick, .whole-card')].filter((one) => {
            const { width, height } = one.getBoundingClientRect();
            return width && height && height < 44 && !one.matches('.cell, .shot, .whole-card');
        }).map((one) => one.outerHTML.slice(0, 90))"""
    )
    assert small == []
    width, height = SIZES["desktop"]
    page.set_viewport_size({"width": width, "height": height})
    assert serious(page) == []
    assert not too_wide(page)
