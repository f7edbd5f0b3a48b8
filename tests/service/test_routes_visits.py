"""Who was where, from when to when."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_service import NOW_S, Served

from adln.gallery.records import NO_PERSON, Filter, SightingFacts


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
    "query",
    [
        "gap_s=0",
        "gap_s=nan",
        "limit=1001",
        "limit=0",
        "who=all",
        "camera=-1",
        "from_s=inf",
        "from_s=2&until_s=1",
    ],
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


def test_a_moment_is_the_visit_with_what_came_before_and_who_else_was_there(served: Served) -> None:
    first = served.gallery.newest(limit=50)[-1]
    assert (first.person_id, first.camera_id) == (1, 0)
    moment = served.client.get(f"/api/v1/moments/{first.sighting_id}").json()
    assert moment["visit"]["sightings"] == 2
    assert [one["time_s"] for one in moment["sightings"]] == [NOW_S, NOW_S + 20]
    assert moment["before"] is None
    # Anna herself was at the other camera at the same time, and Bela came within two minutes.
    assert {one["person_id"] for one in moment["around"]} == {1, 2}
    later = served.look(0, 0, 1, False)
    served.gallery.add([replace(later, time_s=NOW_S + 4000)])
    moment = served.client.get(f"/api/v1/moments/{first.sighting_id}").json()
    assert moment["after"]["camera_name"] == "yard"
    last = served.gallery.newest(limit=1)[0]
    moment = served.client.get(f"/api/v1/moments/{last.sighting_id}").json()
    assert moment["before"]["camera_name"] == "yard"
    assert moment["after"] is None


def test_a_moment_of_nobody_and_one_that_is_gone(served: Served) -> None:
    (nobody,) = served.gallery.newest(Filter(persons=frozenset({NO_PERSON})), limit=1)
    moment = served.client.get(f"/api/v1/moments/{nobody.sighting_id}").json()
    assert moment["visit"]["person_id"] is None
    assert moment["visit"]["sighting_id"] == nobody.sighting_id
    assert served.client.get("/api/v1/moments/99999").status_code == 404


def test_no_more_sightings_are_read_than_the_wanted_visits_need(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = served.look(0, 0, 1, True)
    served.gallery.add([replace(look, time_s=NOW_S - 1000.0 * at) for at in range(2000)])
    read = []
    facts = served.gallery.newest_facts

    def counted(*args: Any, **options: Any) -> list[SightingFacts]:
        read.extend(page := facts(*args, **options))
        return page

    monkeypatch.setattr(served.gallery, "newest_facts", counted)
    assert len(ask(served, "person=1&limit=3")) == 3
    assert len(read) <= 500
    read.clear()
    assert len(ask(served, "person=1&limit=700")) == 700
    assert len(read) <= 1000
