import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fake_service import (
    DIM,
    MODEL,
    NETWORK,
    NOW_S,
    SCALE,
    Served,
    embed_colours,
    person_picture,
)
from numpy.typing import NDArray
from PIL import Image
from tests.matching.made_calibration import CALIBRATION

from adln.gallery.adapting import space_name
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.adaptation import Method, TrackedCrops, fit_adaptation
from adln.matching.calibration import Level, Scales
from adln.matching.thresholds import StatedThresholds
from adln.service.answers import decode_embedding, encode_embedding
from adln.service.network import Network

JPEG = {"Content-Type": "image/jpeg"}
NAMED = {"digest": MODEL.digest, "depth": MODEL.depth, "dim": DIM, "space": ""}


def search(served: Served, picture: bytes, **asked: object) -> dict:  # type: ignore[type-arg]
    answer = served.client.post(
        "/api/v1/search/picture", content=picture, headers=JPEG, params=asked
    )
    assert answer.status_code == 200, answer.text
    found: dict = answer.json()  # type: ignore[type-arg]
    return found


def test_the_gallery_is_asked_once_whether_it_takes_a_network(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SqliteGallery] = []

    class Watched(SqliteGallery):
        @property
        def models(self) -> tuple[ModelKey, ...]:
            asked.append(self)
            return super().models

    monkeypatch.setattr(served.gallery, "__class__", Watched)
    for look in range(3):
        search(served, person_picture(3, look))
    assert len(asked) == 1


def test_a_picture_is_embedded_as_the_network_does(served: Served) -> None:
    picture = person_picture(3)
    answer = served.client.post("/api/v1/embed/picture", content=picture, headers=JPEG).json()
    assert answer["model"] == NAMED
    embedding = decode_embedding(answer["embedding"], DIM)
    np.testing.assert_array_equal(embedding, embed_colours(picture))
    assert served.gallery.count() == 14


def test_somebody_known_is_matched_and_a_stranger_is_unknown(served: Served) -> None:
    known = search(served, person_picture(0, 9))
    assert (known["verdict"], known["name"], known["gallery_size"]) == ("matched", "Anna", 3)
    assert known["probability"] > 0.9
    assert [one["rank"] for one in known["found"]] == list(range(1, 15))
    assert {one["sighting"]["person_id"] for one in known["found"][:4]} == {1}
    assert known["found"][0]["sighting"]["camera_name"] in ("gate", "yard")
    stranger = search(served, person_picture(50))
    assert (stranger["verdict"], stranger["name"], stranger["person_id"]) == ("unknown", None, None)


def test_sightings_of_nobody_are_listed_but_name_nobody(served: Served) -> None:
    answer = search(served, person_picture(7, 9), k=2)
    assert [one["verdict"] for one in answer["found"]] == ["matched", "matched"]
    assert answer["person_id"] is None


def test_filters_leave_out_what_they_should(served: Served) -> None:
    picture = person_picture(0, 9)
    cameras = {one["sighting"]["camera_id"] for one in search(served, picture, camera=1)["found"]}
    assert cameras == {1}
    cameras = {o["sighting"]["camera_id"] for o in search(served, picture, not_camera=1)["found"]}
    assert cameras == {0}
    late = search(served, picture, from_s=NOW_S + 100)
    assert all(one["sighting"]["time_s"] >= NOW_S + 100 for one in late["found"])
    assert late["gallery_size"] == 2
    alike = search(served, picture, least_similarity=0.9)["found"]
    assert all(one["similarity"] > 0.9 for one in alike)
    assert {o["sighting"]["person_id"] for o in search(served, picture, person=2)["found"]} == {2}
    assert search(served, picture, camera=9)["found"] == []


def test_a_sighting_finds_the_others_but_not_itself(served: Served) -> None:
    answer = served.client.post("/api/v1/search", json={"sighting_id": 1, "k": 3}).json()
    assert {one["sighting"]["sighting_id"] for one in answer["found"]} == {2, 3, 4}
    where = {"cameras": [1]}
    answer = served.client.post("/api/v1/search", json={"sighting_id": 1, "where": where}).json()
    assert {one["sighting"]["camera_id"] for one in answer["found"]} == {1}
    assert served.client.post("/api/v1/search", json={"sighting_id": 99}).status_code == 404


def test_an_embedding_finds_what_its_picture_finds(served: Served) -> None:
    picture = person_picture(1, 9)
    asked = {"embedding": encode_embedding(embed_colours(picture)), "model": NAMED}
    answer = served.client.post("/api/v1/search", json=asked).json()
    assert answer == search(served, picture)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"digest": "other"}, 409),
        ({"dim": 47}, 409),
        ({"depth": 9}, 422),
    ],
)
def test_embeddings_of_another_model_are_refused(
    served: Served, changes: dict[str, object], status: int
) -> None:
    asked = {"embedding": encode_embedding(embed_colours(person_picture(1)))}
    answer = served.client.post("/api/v1/search", json={**asked, "model": {**NAMED, **changes}})
    assert answer.status_code == status
    if status == 409:
        assert "different networks" in answer.json()["message"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"sighting_id": 1, "embedding": "AAAA", "model": NAMED},
        {"embedding": "AAAA"},
        {"embedding": "AAAA", "model": NAMED},
        {"embedding": "A===", "model": NAMED},
        {"embedding": encode_embedding(np.zeros(DIM, np.float32)), "model": NAMED},
        {"embedding": encode_embedding(np.full(DIM, np.nan, np.float32)), "model": NAMED},
        {"sighting_id": 1, "k": 0},
        {"sighting_id": 1, "colour": "red"},
        {"sighting_id": 1, "where": {"cameras": [-1]}},
    ],
)
def test_what_cannot_be_searched_for_is_refused(served: Served, asked: dict[str, object]) -> None:
    assert served.client.post("/api/v1/search", json=asked).status_code in (409, 422)


def test_without_a_network_embeddings_still_find(make_served: Callable[..., Served]) -> None:
    served = make_served()
    served.fill()
    served.without_network()
    answer = served.client.post("/api/v1/embed/picture", content=person_picture(1), headers=JPEG)
    assert answer.status_code == 503
    answer = served.client.post("/api/v1/search", json={"sighting_id": 1})
    assert answer.json()["verdict"] is None
    assert len(answer.json()["found"]) == 13


def test_unknown_numbers_in_a_search_are_not_the_same_as_no_filter(served: Served) -> None:
    look = replace(served.look(0, 0, None, False), camera_id=5)
    served.gallery.add([look])
    answer = search(served, person_picture(0), camera=5)
    assert len(answer["found"]) == 1
    assert answer["gallery_size"] == 0
    assert answer["verdict"] == "unknown"


def test_a_score_is_judged_by_the_depths_of_query_and_answer(
    make_served: Callable[..., Served],
) -> None:
    strict = StatedThresholds(match=1.0, candidate=1.0)
    network = replace(
        NETWORK,
        model=replace(MODEL, space="space-one"),
        scales=Scales(own={2: SCALE}, pairs={(2, 4): strict}),
    )
    served = make_served(network=network)
    served.fill()
    # The gallery learns the space of the people in it.
    served.gallery.add([replace(served.look(9, 0, None, False), model=network.model)])
    picture = person_picture(8)
    assert search(served, picture)["verdict"] == "unknown"
    person = served.gallery.enrol("Zoe")
    for depth, verdict in ((4, "unknown"), (2, "matched")):
        model = ModelKey("d" * 64, depth, DIM, "space-one")
        look = served.look(8, 1, person, False)
        (sighting_id,) = served.gallery.add([replace(look, model=model)])
        answer = search(served, picture)
        assert answer["found"][0]["sighting"]["sighting_id"] == sighting_id
        assert answer["found"][0]["sighting"]["depth"] == depth
        assert answer["verdict"] == verdict
        served.gallery.delete([sighting_id or 0])


def test_in_an_adapted_gallery_scores_mean_what_was_fitted_there(served: Served) -> None:
    picture = person_picture(0, 9)
    before = search(served, picture)
    assert before["verdict"] == "matched"
    rows = np.random.default_rng(1).normal(1, 1, (80, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    numbers = np.arange(80)
    crops = TrackedCrops(rows, numbers % 2, numbers // 4 * 2 + numbers % 2)
    adaptation = fit_adaptation(
        crops, Method(name="camera means", by_camera=True), space=space_name(MODEL), fitted_on=""
    )
    strict = replace(CALIBRATION, match=Level(rate=0.01, thresholds=(0.999,) * 4))
    served.gallery.adapt(adaptation, strict)
    answer = search(served, picture)
    assert answer["threshold"] == strict.decide(1.0, 100).match != before["threshold"]
    assert answer["verdict"] == "candidate"
    assert {one["verdict"] for one in answer["found"]} <= {"candidate", "unknown"}


@pytest.mark.parametrize("k", [1, 20, 21, 200])
def test_who_it_is_does_not_depend_on_how_many_are_listed(served: Served, k: int) -> None:
    served.gallery.add(
        [replace(served.look(0, 0, None, False), time_s=NOW_S + at) for at in range(20)]
    )
    answer = search(served, person_picture(0), k=k)
    assert (answer["verdict"], answer["name"]) == ("matched", "Anna")
    assert answer["reason"].startswith("Anna ")
    assert len(answer["found"]) == min(k, 34)


def test_the_answer_says_why_and_who_is_next(served: Served) -> None:
    known = search(served, person_picture(0, 9))
    assert known["score"] > known["threshold"] == 0.9
    assert [one["person_id"] for one in known["runners_up"]] in ([2, 3], [3, 2])
    assert f"reaches {known['threshold']:.2f}; next is" in known["reason"]
    stranger = search(served, person_picture(50))
    assert stranger["reason"].startswith("nearest is ")
    assert "below 0.60" in stranger["reason"]
    assert stranger["score"] < 0.6


def test_nothing_in_the_list_contradicts_the_answer(served: Served) -> None:
    nobody = search(served, person_picture(7, 9))
    assert nobody["verdict"] == "unknown"
    assert nobody["reason"].endswith("is unassigned")
    of_people = [one for one in nobody["found"] if one["sighting"]["person_id"] is not None]
    assert {one["verdict"] for one in of_people} == {"unknown"}
    # A second person who looks just like Anna: neither is matched, and no sighting of theirs.
    twin = served.gallery.enrol("Twin")
    served.gallery.add([served.look(0, 1, twin, False)])
    answer = search(served, person_picture(0, 1))
    assert answer["verdict"] == "candidate"
    assert "are too close; a match needs a lead" in answer["reason"]
    assert "matched" not in {one["verdict"] for one in answer["found"]}


def test_a_whole_frame_is_not_taken_for_a_person(served: Served) -> None:
    stream = io.BytesIO()
    with Image.open(io.BytesIO(person_picture(0, 1))) as picture:
        picture.resize((320, 180)).save(stream, "JPEG")
    answer = search(served, stream.getvalue())
    assert (answer["verdict"], answer["person_id"], answer["probability"]) == (
        "unknown",
        None,
        None,
    )
    assert "320 x 180 px" in answer["reason"]
    assert len(answer["found"]) == 14


def test_a_picture_is_looked_at_deeper_only_where_the_first_look_finds_no_match(
    make_served: Callable[..., Served],
) -> None:
    asked: list[str] = []

    def embed(depth: str) -> Callable[[bytes], NDArray[np.float32]]:
        def work(picture: bytes) -> NDArray[np.float32]:
            asked.append(depth)
            return embed_colours(picture)

        return work

    first_model = ModelKey("d" * 64, 1, DIM, "5" * 16)
    model = ModelKey("e" * 64, 2, DIM, "5" * 16)
    first = Network(model=first_model, embed=embed("first"), precision="int8")
    deeper = Network(model=model, embed=embed("deeper"), precision="int8", first=first)
    served = make_served(network=deeper)
    embedding = embed_colours(person_picture(0))
    ids = served.gallery.add(
        [Sighting(embedding=embedding, model=model, camera_id=1, time_s=NOW_S)]
    )
    person = served.gallery.split([one for one in ids if one is not None])
    known = search(served, person_picture(0, 9))
    assert (known["verdict"], known["person_id"]) == ("matched", person)
    assert (known["model"]["depth"], asked) == (1, ["first"])
    asked.clear()
    stranger = search(served, person_picture(50))
    assert (stranger["verdict"], stranger["model"]["depth"]) == ("unknown", 2)
    assert asked == ["first", "deeper"]
    # What is stored and handed out is of the deeper one.
    asked.clear()
    picture = person_picture(3)
    answer = served.client.post("/api/v1/embed/picture", content=picture, headers=JPEG).json()
    assert (answer["model"]["depth"], asked) == (2, ["deeper"])


def test_a_period_that_ends_before_it_begins_is_refused_everywhere(served: Served) -> None:
    # An empty answer would say that somebody who was seen then is unknown.
    period = {"from_s": NOW_S + 1, "until_s": NOW_S}
    known = encode_embedding(embed_colours(person_picture(0)))
    answers = [
        served.client.get("/api/v1/sightings", params=period),
        served.client.get("/api/v1/visits", params=period),
        served.client.post(
            "/api/v1/search/picture", content=person_picture(0), headers=JPEG, params=period
        ),
        served.client.post(
            "/api/v1/search", json={"embedding": known, "model": NAMED, "where": period}
        ),
    ]
    assert [answer.status_code for answer in answers] == [422] * 4
    assert all("until_s must be later" in answer.json()["message"] for answer in answers)
