"""What people have to decide."""

from collections.abc import Callable
from typing import Any

import pytest
from fake_service import NOW_S, Served

from adln.service.state import ServiceState


@pytest.fixture
def puzzling(make_served: Callable[..., Served]) -> Served:
    """Anna and Bela, Bela once more without a name, and one look at Anna that is given to Bela."""
    served = make_served(keep_pictures=True)
    for number, name in enumerate(("Anna", "Bela", None)):
        person_id = served.gallery.enrol(name)
        # The third is Bela again.
        seed = min(number, 1)
        looks = [served.look(seed, 4 * number + at, person_id, True) for at in range(4)]
        served.gallery.add(looks)
    served.gallery.add([served.look(0, 20, 2, True)])
    return served


def queue(served: Served) -> list[dict[str, Any]]:
    answer = served.client.get("/api/v1/review")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def post(served: Served, path: str, content: object) -> dict[str, Any]:
    answer = served.client.post(f"/api/v1{path}", json=content)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_two_who_may_be_one_come_with_pictures_of_both_and_are_merged(puzzling: Served) -> None:
    merge = next(item for item in queue(puzzling) if item["kind"] == "merge")
    assert (merge["person"]["name"], merge["other"]["person_id"]) == ("Bela", 3)
    assert merge["likeness"] > 0.9
    for one in (merge["person"], merge["other"]):
        assert one["picture_ids"]
    post(puzzling, "/persons/2/merge", {"person_ids": [3]})
    assert not any(item["kind"] == "merge" for item in queue(puzzling))


def test_a_look_at_somebody_else_is_found_set_aside_and_put_back(puzzling: Served) -> None:
    strange = next(item for item in queue(puzzling) if item["kind"] == "strange")
    assert (strange["person"]["name"], strange["other"]["name"]) == ("Bela", "Anna")
    (look,) = strange["sighting_ids"]
    done = post(puzzling, "/review/set-aside", {"sighting_ids": [look]})
    assert puzzling.gallery.get([look])[0].person_id is None
    assert not any(item["kind"] == "strange" for item in queue(puzzling))
    post(puzzling, f"/undo/{done['undo_id']}", None)
    assert puzzling.gallery.get([look])[0].person_id == 2


def test_what_is_to_be_ignored_is_not_asked_again_even_after_a_restart(puzzling: Served) -> None:
    first = queue(puzzling)[0]["key"]
    done = post(puzzling, "/review/ignore", {"key": first})
    assert first not in [item["key"] for item in queue(puzzling)]
    again = ServiceState(puzzling.settings.state_folder)
    assert again.dismissed() == {first}
    again.close()
    post(puzzling, f"/undo/{done['undo_id']}", None)
    assert queue(puzzling)[0]["key"] == first


def test_looks_at_nobody_that_are_alike_are_one_group(served: Served) -> None:
    pytest.importorskip("sklearn")
    (group,) = [item for item in queue(served) if item["kind"] == "group"]
    assert group["num_sightings"] == 2
    assert group["person"] is None
    assert group["first_seen_s"] == NOW_S + 700
    enrolled = served.client.post("/api/v1/persons", json={"sighting_ids": group["sighting_ids"]})
    assert enrolled.status_code == 201
    kinds = [item["kind"] for item in queue(served)]
    assert kinds == ["unnamed", "unnamed"]


def test_somebody_without_a_name_waits_for_one(served: Served) -> None:
    unnamed = next(item for item in queue(served) if item["kind"] == "unnamed")
    assert unnamed["person"]["person_id"] == 3
    assert unnamed["num_sightings"] == 4
    served.client.put("/api/v1/persons/3/name", json={"name": "Cleo"})
    assert not any(item["kind"] == "unnamed" for item in queue(served))


def test_without_a_calibration_it_is_said_that_nobody_is_compared(served: Served) -> None:
    served.without_network()
    answer = served.client.get("/api/v1/review").json()
    assert "Without a calibration" in answer["left_out"]
    assert [item["kind"] for item in answer["items"]] == ["unnamed"]


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("ignore", {"key": "../../etc/passwd"}, 422),
        ("ignore", {"key": "merge:1:2:3"}, 422),
        ("ignore", {"key": "merge:" + "9" * 17}, 422),
        ("ignore", {"key": "unnamed:3\n"}, 422),
        ("ignore", {"key": "unnamed:3", "more": 1}, 422),
        ("set-aside", {"sighting_ids": []}, 422),
        ("set-aside", {"sighting_ids": [1] * 1001}, 422),
        ("set-aside", {"sighting_ids": [2**60]}, 422),
        ("set-aside", {"sighting_ids": [999]}, 404),
    ],
)
def test_hostile_decisions_are_refused_and_nothing_is_told(
    served: Served, path: str, content: object, status: int
) -> None:
    answer = served.client.post(f"/api/v1/review/{path}", json=content)
    assert answer.status_code == status
    assert served.settings.gallery not in answer.text
    assert "etc" not in answer.text
    assert served.state.dismissed() == frozenset()
    assert served.gallery.count() == 14
