"""Who is in a whole picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_service import Served, person_picture

from adln.cameras.finding import FoundPerson
from adln.service import frames

PICTURE = {"content-type": "image/jpeg"}


def test_people_in_a_picture_are_told_with_its_size(served: Served) -> None:
    served.people_in_frames = [FoundPerson((1.0, 2.0, 30.0, 60.0), 0.75)]
    answer = served.client.post("/api/v1/frames/people", content=person_picture(0), headers=PICTURE)
    assert answer.json() == {
        "width_px": 64,
        "height_px": 64,
        "can_find": True,
        "people": [{"box_xyxy": [1.0, 2.0, 30.0, 60.0], "confidence": 0.75}],
    }
    # Nothing is stored, and nobody was recognised.
    assert served.gallery.count() == 14


def test_wherever_a_picture_is_sent_it_may_be_larger_than_json(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(max_json_bytes=20_000, max_picture_bytes=80_000)
    described = served.client.get("/api/v1/openapi.json").json()["paths"]
    routes = [
        path
        for path, methods in described.items()
        if "image/jpeg" in methods.get("post", {}).get("requestBody", {}).get("content", {})
    ]
    assert {"/api/v1/frames/people", "/api/v1/search/picture"} < set(routes)
    for path in routes:
        address = path.format(person_id=1)
        for size, is_too_large in ((40_000, False), (90_000, True)):
            content = person_picture(0) + bytes(size)
            answer = served.client.post(address, content=content, headers=PICTURE)
            assert (answer.status_code == 413) is is_too_large, (path, answer.text)


def test_without_a_detector_it_is_said_that_nobody_was_looked_for(
    make_served: Callable[..., Served],
) -> None:
    served = make_served()
    served.without_network()
    answer = served.client.post("/api/v1/frames/people", content=person_picture(0), headers=PICTURE)
    assert answer.json()["can_find"] is False
    assert answer.json()["people"] == []


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"<svg/>"])
def test_what_is_no_picture_is_refused(served: Served, content: bytes) -> None:
    answer = served.client.post("/api/v1/frames/people", content=content, headers=PICTURE)
    assert 400 <= answer.status_code < 500
    assert answer.json()["message"]


def test_there_is_no_finder_where_no_detector_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADLN_DETECTOR", str(tmp_path / "none.onnx"))
    assert frames.open_finder() is None
    (tmp_path / "none.onnx").write_bytes(b"no network")
    assert frames.open_finder() is None
