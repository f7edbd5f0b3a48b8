"""Who was where, from when to when."""

from collections.abc import Callable

import pytest
from fake_service import NOW_S, Served


def ask(served: Served, query: str) -> list[dict[str, object]]:
    answer = served.client.get(f"/api/v1/visits?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["visits"])


def test_sightings_of_one_person_at_one_camera_are_a_visit_until_a_long_gap(served: Served) -> None:
    visits = ask(served, "person=1")
    assert [(one["camera_name"], one["sightings"]) for one in visits] == [("yard", 2), ("gate", 2)]
    assert [(one["first_s"], one["last_s"]) for one in visits] == [
        (NOW_S + 10, NOW_S + 30),
        (NOW_S, NOW_S + 20),
    ]
    assert len(ask(served, "person=1&gap_s=15")) == 4


@pytest.mark.parametrize(
    ("query", "people"),
    [
        ("who=named", {1, 2}),
        ("who=unnamed", {3}),
        ("who=nobody", {None}),
        ("camera=1", {1, 2, 3, None}),
        (f"from_s={NOW_S + 100}&until_s={NOW_S + 140}", {2}),
    ],
)
def test_visits_are_filtered(served: Served, query: str, people: set[int | None]) -> None:
    assert {one["person_id"] for one in ask(served, query)} == people


def test_sightings_of_nobody_are_one_visit_only_if_of_one_track(served: Served) -> None:
    assert [one["sightings"] for one in ask(served, "who=nobody")] == [1, 1]


def test_nobody_named_is_no_visit(make_served: Callable[..., Served]) -> None:
    answer = make_served().client.get("/api/v1/visits?who=named").json()
    assert answer == {"visits": [], "is_all": True}


def test_it_is_said_when_older_visits_are_left_out(served: Served) -> None:
    answer = served.client.get("/api/v1/visits?limit=1").json()
    assert len(answer["visits"]) == 1
    assert not answer["is_all"]


@pytest.mark.parametrize(
    "query", ["gap_s=0", "gap_s=nan", "limit=1001", "limit=0", "who=all", "camera=-1", "from_s=inf"]
)
def test_a_query_without_sense_is_refused(served: Served, query: str) -> None:
    answer = served.client.get(f"/api/v1/visits?{query}")
    assert answer.status_code == 422
    assert served.settings.gallery not in answer.text


def test_the_best_picture_of_a_visit_is_named(make_served: Callable[..., Served]) -> None:
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    for visit in ask(served, "person=1"):
        picture = served.client.get(f"/api/v1/sightings/{visit['picture_id']}/picture")
        assert picture.status_code == 200
