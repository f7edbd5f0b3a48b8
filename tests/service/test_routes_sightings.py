import base64
from collections.abc import Callable

import httpx
import pytest
from fake_service import DIM, MODEL, NOW_S, Served, embed_colours, person_picture

from adln.service.answers import encode_embedding

API = "/api/v1"
NAMED = {"digest": MODEL.digest, "depth": MODEL.depth, "dim": DIM}


def pushed(number: int, **changes: object) -> dict[str, object]:
    values = {
        "embedding": encode_embedding(embed_colours(person_picture(number))),
        "camera_id": 4,
        "time_s": NOW_S,
        "track_id": 3,
        "box_xyxy": [1, 2, 30, 40],
        "quality": 0.5,
    }
    return {**values, **changes}


def test_boxes_of_one_space_mix_depths_and_every_answer_names_what_made_it(
    served: Served,
) -> None:
    own = {**NAMED, "space": "0123456789abcdef"}
    deep = {"digest": "d" * 64, "depth": 4, "dim": DIM, "space": "0123456789abcdef"}
    strange = {**deep, "digest": "e" * 64, "space": "fedcba9876543210"}

    def push(model: dict[str, object], number: int) -> httpx.Response:
        content = {"model": model, "sightings": [pushed(number)]}
        return served.client.post(f"{API}/sightings", json=content)

    # As long as nobody has said which space the service's network is of, all else is foreign.
    assert push(deep, 5).status_code == 409
    assert push(own, 6).status_code == 201
    (sighting_id,) = push(deep, 5).json()["sighting_ids"]
    refused = push(strange, 5)
    assert refused.status_code == 409
    assert "unless their files say that they share a space" in refused.json()["message"]
    assert served.gallery.count() == 16
    one = served.client.get(f"{API}/sightings/{sighting_id}").json()
    assert (one["depth"], one["model"]) == (4, deep)
    answer = served.client.post(
        f"{API}/search/picture",
        content=person_picture(5),
        headers={"Content-Type": "image/jpeg"},
        params={"k": 2},
    ).json()
    assert answer["model"]["depth"] == 2
    assert answer["found"][0]["sighting"]["model"] == deep
    assert answer["found"][1]["sighting"]["model"] == own


def test_pages_of_sightings_give_all_newest_first(served: Served) -> None:
    seen: list[int] = []
    before = None
    while True:
        asked = {"limit": 5} if before is None else {"limit": 5, "before": before}
        page = served.client.get(f"{API}/sightings", params=asked).json()
        seen += [one["sighting_id"] for one in page["sightings"]]
        before = page["next"]
        if before is None:
            break
    assert seen == list(range(14, 0, -1))


def test_sightings_are_filtered(served: Served) -> None:
    def ids(**asked: object) -> list[int]:
        answer = served.client.get(f"{API}/sightings", params=asked)  # type: ignore[arg-type]
        return [one["sighting_id"] for one in answer.json()["sightings"]]

    assert ids(person=1) == [4, 3, 2, 1]
    assert ids(person=1, camera=0) == [3, 1]
    assert ids(nobody=True) == [14, 13]
    assert ids(from_s=NOW_S + 30, until_s=NOW_S + 110) == [5, 4]


@pytest.mark.parametrize("before", ["x", "0x1p+9999_1", "0x1.fp+1", "0x" + "1" * 50 + "p+1_1"])
def test_a_made_up_page_is_refused(served: Served, before: str) -> None:
    assert served.client.get(f"{API}/sightings", params={"before": before}).status_code == 422


def test_a_box_pushes_what_it_embedded(served: Served) -> None:
    picture = base64.b64encode(person_picture(5)).decode()
    content = {"model": NAMED, "sightings": [pushed(5, picture=picture), pushed(6, person_id=2)]}
    answer = served.client.post(f"{API}/sightings", json=content)
    assert answer.status_code == 201
    first, second = served.gallery.get(answer.json()["sighting_ids"])
    assert (first.camera_id, first.track_id, first.box_xyxy) == (4, 3, (1.0, 2.0, 30.0, 40.0))
    assert (first.person_id, second.person_id) == (None, 2)
    # This service keeps no pictures, whatever boxes send.
    assert first.thumbnail is None


def test_a_pushed_picture_is_drawn_anew_before_it_is_kept(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(keep_pictures=True)
    picture = base64.b64encode(person_picture(5) + b"<script>").decode()
    content = {"model": NAMED, "sightings": [pushed(5, picture=picture)]}
    (sighting_id,) = served.client.post(f"{API}/sightings", json=content).json()["sighting_ids"]
    kept = served.client.get(f"{API}/sightings/{sighting_id}/picture").content
    assert kept.startswith(b"\xff\xd8\xff")
    assert b"script" not in kept
    content["sightings"] = [pushed(5, picture=base64.b64encode(b"<svg/>").decode())]
    assert served.client.post(f"{API}/sightings", json=content).status_code == 422


def test_models_are_never_mixed(served: Served) -> None:
    other = {**NAMED, "digest": "d" * 64}
    answer = served.client.post(f"{API}/sightings", json={"model": other, "sightings": [pushed(5)]})
    assert answer.status_code == 409
    assert "cccccccccccc" in answer.json()["message"]
    assert served.gallery.count() == 14


def test_of_a_batch_with_one_mistake_nothing_is_stored(served: Served) -> None:
    for mistake in (
        {"embedding": "AAAA"},
        {"camera_id": -1},
        {"box_xyxy": [5, 5, 1, 1]},
        {"quality": 2},
        {"person_id": 77},
        {"time_s": 1e300},
        {"colour": "red"},
    ):
        content = {"model": NAMED, "sightings": [pushed(5), pushed(6, **mistake)]}
        answer = served.client.post(f"{API}/sightings", json=content)
        assert answer.status_code in (404, 409, 422), mistake
    assert served.gallery.count() == 14


def test_a_number_that_json_does_not_have_is_refused(served: Served) -> None:
    content = b'{"model": {"digest": "c", "depth": 2, "dim": 1}, "sightings": [{"time_s": NaN}]}'
    headers = {"Content-Type": "application/json"}
    for body in (content, b"{", b"[" * 100_000, b'"\\ud800"', b"\xff"):
        answer = served.client.post(f"{API}/sightings", content=body, headers=headers)
        assert answer.status_code in (400, 422)


def test_one_sighting_is_erased(served: Served) -> None:
    assert served.client.delete(f"{API}/sightings/1").status_code == 204
    assert served.client.get(f"{API}/sightings/1").status_code == 404
    assert served.client.delete(f"{API}/sightings/1").status_code == 404


def test_a_disk_that_is_full_is_told_as_such_and_nothing_is_lost(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sightings: object) -> None:
        raise served.full_disk()

    monkeypatch.setattr(served.gallery, "add", refuse)
    content = {"model": NAMED, "sightings": [pushed(5)]}
    answer = served.client.post(f"{API}/sightings", json=content)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert str(served.gallery.folder) not in answer.text
