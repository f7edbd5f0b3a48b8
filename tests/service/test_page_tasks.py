"""Ten things that people do every day, each in a few clicks and keys, counted in a browser."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import CHROMIUM, SIZES, serious, too_wide
from fake_service import Served, person_picture
from PIL import Image
from tests.conftest import NO_CHROMIUM

from adln.cameras.finding import FoundPerson

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)

OpenPage = Callable[..., "Page"]


class Hand:
    """Works a page and counts: a click is one, a key is one, text that is typed is none.

    What has to be typed (a name, an address) is as long as it is; the way to it counts.
    """

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.count = 0

    def click(self, what: "Locator") -> None:
        self.count += 1
        what.click()

    def link(self, name: str) -> None:
        self.click(self.page.get_by_role("link", name=name, exact=True))

    def button(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True))

    def answer(self, name: str) -> None:
        """Click a button of the dialog."""
        self.click(self.page.locator("dialog").get_by_role("button", name=name, exact=True))

    def drag_over(self, what: "Locator", left: float, right: float) -> None:
        """Mark a part of a picture, from top to bottom."""
        self.count += 1
        box = what.bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + left * box["width"], box["y"] + 1)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + right * box["width"], box["y"] + box["height"] - 1)
        self.page.mouse.up()

    def tab(self, name: str) -> None:
        self.click(self.page.locator(".tabs").get_by_role("link", name=name))

    def press(self, key: str) -> None:
        self.count += 1
        self.page.keyboard.press(key)

    def type(self, label: str, text: str) -> None:
        self.page.get_by_label(label).fill(text)


@pytest.fixture
def hand(served: Served, open_page: OpenPage) -> Hand:
    page = open_page(served.address)
    page.get_by_role("heading", name="Search").wait_for()
    return Hand(page)


def test_where_somebody_was_last_seen_takes_two(hand: Hand) -> None:
    hand.tab("People")
    hand.link("Anna")
    assert " at yard" in hand.page.get_by_text("Last seen").inner_text()
    assert hand.count <= 2


def test_an_unknown_is_named_with_three(served: Served, open_page: OpenPage) -> None:
    pytest.importorskip("sklearn")
    hand = Hand(open_page(served.address))
    hand.tab("Review")
    hand.page.get_by_text("Has no name").wait_for()
    hand.press("n")
    hand.page.keyboard.type("Cleo")
    hand.press("Enter")
    hand.page.get_by_text("Cleo").first.wait_for()
    hand.page.locator("#toasts").get_by_role("button", name="Undo").wait_for()
    assert "Cleo" in {person.name for person in served.gallery.persons()}
    assert hand.count <= 3


def test_two_who_are_one_are_merged_with_three(served: Served, open_page: OpenPage) -> None:
    pytest.importorskip("sklearn")
    # Anna a second time, as somebody without a name.
    again = served.gallery.enrol(None)
    served.gallery.add([served.look(0, at, again, False) for at in range(5, 8)])
    hand = Hand(open_page(served.address))
    hand.tab("Review")
    hand.page.get_by_text("Possibly the same person").wait_for()
    # The title has the focus once the view is complete.
    hand.page.locator("h1:focus").wait_for()
    hand.press("m")
    hand.page.get_by_text("Merged into Anna.").wait_for()
    assert again not in {person.person_id for person in served.gallery.persons()}
    assert hand.count <= 3


def test_somebody_who_has_look_alikes_is_forgotten_with_five(
    served: Served, open_page: OpenPage
) -> None:
    like = served.gallery.enrol("Anna Berg")
    served.gallery.add([served.look(0, at, like, False) for at in range(5, 8)])
    hand = Hand(open_page(served.address))
    hand.tab("People")
    hand.link("Anna")
    hand.button("Forget")
    hand.type("Type Anna to confirm", "Anna")
    hand.answer("Forget permanently")
    hand.page.get_by_role("heading", name="Erased and verified").wait_for()
    left = {person.name: person.num_sightings for person in served.gallery.persons()}
    assert "Anna" not in left
    assert left["Anna Berg"] == 3
    assert hand.count <= 5


def test_who_was_in_the_hall_yesterday_at_two_takes_three(
    make_served: Callable[..., Served], open_page: OpenPage
) -> None:
    served = make_served(camera_names={0: "gate", 1: "hall"})
    yesterday = datetime.now().astimezone() - timedelta(days=1)
    person_id = served.gallery.enrol("Anna")
    for hour, at in ((9, 0), (14, 1), (16, 1)):
        time_s = yesterday.replace(hour=hour, minute=20, second=0, microsecond=0).timestamp()
        served.gallery.add([replace(served.look(0, at, person_id, False), time_s=time_s)])
    hand = Hand(open_page(served.address))
    hand.tab("Follow")
    hand.button("Yesterday")
    hand.click(hand.page.get_by_role("button", name=re.compile("hall, 14:00–15:00: 1 visit")))
    hand.page.get_by_text("hall, yesterday 14:00–15:00: 1 person.").wait_for()
    assert hand.page.locator(".visit-card").count() == 1
    assert hand.count <= 3


def test_somebody_is_silenced_with_three(served: Served, hand: Hand) -> None:
    hand.tab("People")
    hand.link("Anna")
    hand.button("Silence")
    hand.page.get_by_text("No alerts or messages are sent when they are seen").wait_for()
    assert served.cameras.ignored == {"id:1"}
    assert served.events.silenced == {1}
    assert hand.count <= 3
    # And told of again, from the list of those who are silenced.
    hand.link("Set up")
    hand.button("Stop silencing")
    hand.page.get_by_text("Silenced people are still recognised").wait_for()
    assert served.cameras.ignored == frozenset()


def test_a_camera_is_added_with_six_and_its_password_is_never_shown(
    served: Served, hand: Hand
) -> None:
    hand.link("Set up")
    hand.button("Add a camera")
    hand.type("Address", "rtsp://eve:geheim@10.0.0.7/stream")
    hand.answer("Test picture")
    hand.page.get_by_role("img", name="What this camera sees").wait_for()
    assert serious(hand.page) == []
    hand.page.get_by_role("textbox", name="Name").fill("hall")
    hand.answer("Add")
    hand.page.get_by_role("cell", name="rtsp://***@10.0.0.7/stream").wait_for()
    assert "geheim" not in hand.page.content()
    assert served.cameras.watched is not None
    assert [one.name for one in served.cameras.watched.cameras] == ["hall"]
    assert served.cameras.watched.cameras[0].source == "rtsp://eve:geheim@10.0.0.7/stream"
    assert hand.count <= 6


def test_an_address_that_is_none_is_told_in_the_dialog(hand: Hand) -> None:
    hand.link("Set up")
    hand.button("Add a camera")
    hand.type("Address", "/etc/passwd")
    hand.answer("Test picture")
    hand.page.get_by_text("begins with rtsp://, rtsps://").wait_for()


def test_somebody_is_enrolled_from_a_frame_with_five(
    served: Served, hand: Hand, tmp_path: Path
) -> None:
    stranger = Image.open(io.BytesIO(person_picture(50, size=40)))
    frame = Image.new("RGB", (800, 160), "grey")
    frame.paste(stranger, (320, 0))
    frame.save(tmp_path / "frame.png")
    # Choosing a file is one; the part of it that is marked another.
    hand.count += 1
    hand.page.set_input_files(".drop input", tmp_path / "frame.png")
    hand.drag_over(hand.page.locator(".cropper"), 0.4, 0.6)
    hand.button("Search for this person")
    hand.button("Enrol this picture")
    hand.type("Name (can be given later)", "Cleo")
    hand.answer("Enrol")
    hand.page.get_by_role("heading", name=re.compile("^Cleo, ")).wait_for()
    assert hand.count <= 5


def test_somebody_is_enrolled_from_a_frame_in_which_people_are_found_with_five(
    served: Served, hand: Hand, tmp_path: Path
) -> None:
    frame = Image.new("RGB", (800, 160), "grey")
    for at in range(2):
        person = Image.open(io.BytesIO(person_picture(50 + at, size=40)))
        frame.paste(person.resize((80, 160)), (320 * at, 0))
    frame.save(tmp_path / "frame.png")
    served.people_in_frames = [
        FoundPerson((320.0 * at, 0.0, 320.0 * at + 80, 160.0), 0.9) for at in range(2)
    ]
    hand.tab("People")
    hand.link("Enrol a person")
    # Choosing a file is one.
    hand.count += 1
    hand.page.set_input_files(".drop input", tmp_path / "frame.png")
    hand.button("Person 2 of 2, from the left")
    hand.type("Name (can be given later)", "Cleo")
    hand.button("Enrol")
    hand.page.get_by_role("heading", name="Cleo").wait_for()
    assert hand.count <= 5


def test_a_persons_day_is_exported_with_three(hand: Hand) -> None:
    hand.tab("People")
    hand.link("Anna")
    with hand.page.expect_download() as saved:
        hand.button("Export CSV")
    table = saved.value.path().read_text("utf-8-sig").splitlines()
    assert table[0].startswith('"person","name","camera"')
    assert len(table) == 3
    assert hand.count <= 3


def test_a_colleague_is_let_in_by_phone_with_four_and_out_again(
    make_served: Callable[..., Served], open_page: OpenPage
) -> None:
    served = make_served(require_token=True)
    served.fill()
    page = open_page(f"{served.address}/#token={served.tokens['admin']}")
    hand = Hand(page)
    hand.link("Set up")
    hand.button("Add a user")
    page.get_by_role("textbox", name="Name").fill("Tess")
    hand.answer("Create a link")
    code = page.get_by_role("img", name="QR code of the link")
    code.wait_for()
    assert hand.count <= 4
    assert serious(page) == []
    # The picture is one: the browser knows its size.
    page.wait_for_function("document.querySelector('.code').naturalWidth > 100")
    link = page.get_by_label("Link").input_value()
    phone = open_page(link, "phone")
    phone.get_by_role("heading", name="Search").wait_for()
    # Neither the address nor another tab has it.
    assert "adln_" not in phone.url
    assert phone.evaluate("localStorage.length") == 0
    hand.answer("Done")
    assert "adln_" not in page.content()
    page.get_by_role("button", name="Revoke the token of Tess").click()
    page.locator("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_text("1 token revoked").wait_for()
    phone.reload()
    phone.get_by_role("heading", name="Log in").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_set_up_fits_every_screen(
    served: Served, open_page: OpenPage, size: str, scheme: str
) -> None:
    served.tokens["viewer"]
    served.client.post(
        "/api/v1/setup/cameras",
        json={"name": "a hall with a long name", "source": "rtsp://u:p@10.0.0.7/" + "a" * 90},
    )
    page = open_page(served.address + "/#/setup", size, color_scheme=scheme)
    page.get_by_role("heading", name="Access").wait_for()
    assert serious(page) == []
    assert not too_wide(page)
