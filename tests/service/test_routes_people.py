import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fake_service import Served, person_picture

from adln.errors import ServiceError
from adln.gallery.records import Filter

API = "/api/v1"
JPEG = {"Content-Type": "image/jpeg"}


def of(served: Served, person_id: int) -> list[int]:
    where = Filter(persons=frozenset({person_id}))
    return [one.sighting_id for batch in served.gallery.iterate(where) for one in batch]


def test_people_are_listed_last_seen_first_and_found_by_name(served: Served) -> None:
    everybody = served.client.get(f"{API}/persons").json()
    assert everybody["total"] == 3
    assert [one["name"] for one in everybody["people"]] == [None, "Bela", "Anna"]
    found = served.client.get(f"{API}/persons", params={"text": "ANN"}).json()
    assert [one["name"] for one in found["people"]] == ["Anna"]
    page = served.client.get(f"{API}/persons", params={"limit": 1, "offset": 1}).json()
    assert ([one["name"] for one in page["people"]], page["total"]) == (["Bela"], 3)
    assert served.client.get(f"{API}/persons/9").status_code == 404
    named = served.client.get(f"{API}/persons", params={"named": True}).json()
    assert ([one["name"] for one in named["people"]], named["total"]) == (["Bela", "Anna"], 2)


def test_somebody_is_enrolled_with_pictures_that_are_not_kept(served: Served) -> None:
    person = served.client.post(f"{API}/persons", json={"name": " Cleo  Q "}).json()
    assert (person["name"], person["num_sightings"]) == ("Cleo Q", 0)
    stored = served.client.post(
        f"{API}/persons/{person['person_id']}/picture?camera_id=1&time_s=5",
        content=person_picture(9),
        headers=JPEG,
    )
    assert stored.status_code == 201
    (record,) = served.gallery.get(stored.json()["sighting_ids"])
    assert (record.camera_id, record.time_s, record.thumbnail) == (1, 5.0, None)
    answer = served.client.post(
        f"{API}/search/picture", content=person_picture(9, 5), headers=JPEG
    ).json()
    assert answer["name"] == "Cleo Q"


def test_pictures_are_kept_where_that_was_chosen(make_served: Callable[..., Served]) -> None:
    served = make_served(keep_pictures=True)
    served.fill()
    stored = served.client.post(
        f"{API}/persons/1/picture",
        content=person_picture(0, 8, "PNG"),
        headers={"Content-Type": "image/png"},
    ).json()
    picture = served.client.get(f"{API}/sightings/{stored['sighting_ids'][0]}/picture")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content.startswith(b"\xff\xd8\xff")
    assert served.client.get(f"{API}/sightings/1/picture").status_code == 404


def test_a_name_can_be_taken_back_once(served: Served) -> None:
    done = served.client.put(f"{API}/persons/1/name", json={"name": "Ada"}).json()
    assert served.client.get(f"{API}/persons/1").json()["name"] == "Ada"
    undo = f"{API}/undo/{done['undo_id']}"
    assert served.client.post(undo).json() == {"action": "name"}
    assert served.client.get(f"{API}/persons/1").json()["name"] == "Anna"
    assert served.client.post(undo).status_code == 404


def test_a_name_that_is_taken_or_empty_is_refused(served: Served) -> None:
    taken = served.client.put(f"{API}/persons/1/name", json={"name": "Bela"})
    assert taken.status_code == 409
    assert str(served.gallery.folder) not in taken.text
    for name in ("", "   ", "a\x00b", "x" * 201, 5):
        answer = served.client.put(f"{API}/persons/1/name", json={"name": name})
        assert answer.status_code == 422
    assert served.client.put(f"{API}/persons/99/name", json={"name": "x"}).status_code == 404


def test_a_merge_can_be_taken_back_with_names(served: Served) -> None:
    before = {person: of(served, person) for person in (1, 2, 3)}
    done = served.client.post(f"{API}/persons/3/merge", json={"person_ids": [1, 2]}).json()
    assert done["changed"] == 8
    merged = served.client.get(f"{API}/persons").json()["people"]
    assert [(one["person_id"], one["name"], one["num_sightings"]) for one in merged] == [
        (3, "Anna", 12)
    ]
    assert served.client.post(f"{API}/undo/{done['undo_id']}").status_code == 200
    people = served.client.get(f"{API}/persons").json()["people"]
    back = {one["name"]: of(served, one["person_id"]) for one in people}
    assert back == {"Anna": before[1], "Bela": before[2], None: before[3]}
    # With their old numbers, by which others may know them.
    assert [of(served, person) for person in (1, 2, 3)] == [before[1], before[2], before[3]]


def test_a_split_can_be_taken_back(served: Served) -> None:
    before = of(served, 3)
    done = served.client.post(
        f"{API}/persons/3/split", json={"sighting_ids": before[:2], "name": "Cleo"}
    ).json()
    assert of(served, done["person_id"]) == before[:2]
    assert served.client.post(f"{API}/undo/{done['undo_id']}").status_code == 200
    assert of(served, 3) == before
    people = {one["name"] for one in served.client.get(f"{API}/persons").json()["people"]}
    assert people == {"Anna", "Bela", None}


def test_only_a_persons_own_sightings_can_be_split_off(served: Served) -> None:
    for ids in ([1, 5], [99], []):
        answer = served.client.post(f"{API}/persons/1/split", json={"sighting_ids": ids})
        assert answer.status_code in (404, 422)
    assert len(of(served, 1)) == 4


def test_sightings_of_nobody_are_given_to_somebody_and_back(served: Served) -> None:
    path = f"{API}/persons/1/sightings"
    done = served.client.post(path, json={"sighting_ids": [13, 14, 5]}).json()
    assert done["changed"] == 3
    assert of(served, 1) == [1, 2, 3, 4, 5, 13, 14]
    served.client.post(f"{API}/undo/{done['undo_id']}")
    assert of(served, 1) == [1, 2, 3, 4]
    assert of(served, 2) == [5, 6, 7, 8]
    assert [one.person_id for one in served.gallery.get([13, 14])] == [None, None]


def test_somebody_is_enrolled_from_sightings_of_nobody(served: Served) -> None:
    answer = served.client.post(f"{API}/persons", json={"name": "Cleo", "sighting_ids": [13, 14]})
    assert answer.json()["num_sightings"] == 2
    answer = served.client.post(f"{API}/persons", json={"sighting_ids": [99]})
    assert answer.status_code == 404


def test_nobody_is_enrolled_from_sightings_of_somebody_else(served: Served) -> None:
    answer = served.client.post(f"{API}/persons", json={"name": "Cleo", "sighting_ids": [13, 1]})
    assert answer.status_code == 409
    assert of(served, 1) == [1, 2, 3, 4]
    assert len(served.gallery.persons()) == 3


def test_a_named_enrolment_waits_for_nobodys_change_and_no_change_waits_for_it(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(require_token=True)
    served.fill()
    first, second = served.as_("operator"), served.as_("admin")
    began, go_on = threading.Event(), threading.Event()
    enrol = served.gallery.enrol

    def slow(name: str | None) -> int:
        began.set()
        assert go_on.wait(20)
        return enrol(name)

    served.gallery.enrol = slow  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor() as pool:
        address = served.address
        enrolled = pool.submit(
            httpx.post, f"{address}{API}/persons", json={"name": "Cleo"}, headers=first
        )
        assert began.wait(20)
        named = served.client.put(
            f"{API}/persons/1/name", json={"name": "Ada"}, timeout=10, headers=second
        )
        go_on.set()
        assert enrolled.result(20).status_code == 201
    assert named.status_code == 200


def test_who_looks_through_the_list_of_people_is_logged_once_a_minute(served: Served) -> None:
    for text in ("", "a", "an"):
        served.client.get(f"{API}/persons", params={"text": text})
    entries = served.state.entries(newest=10)
    assert [(one.actor, one.action) for one in entries] == [("this machine", "list people")]


def test_an_undo_that_is_not_possible_any_more_says_so(served: Served) -> None:
    done = served.client.put(f"{API}/persons/1/name", json={"name": "Ada"}).json()
    served.client.post(f"{API}/persons", json={"name": "Anna"})
    answer = served.client.post(f"{API}/undo/{done['undo_id']}")
    assert answer.status_code == 409
    assert "because of a later change" in answer.json()["message"]
    assert str(served.gallery.folder) not in answer.text


def test_nobody_is_enrolled_of_somebody_elses_sightings(served: Served) -> None:
    before = of(served, 1)
    answer = served.client.post(f"{API}/persons", json={"sighting_ids": [13, before[0]]})
    assert answer.status_code == 409
    assert of(served, 1) == before
    assert len(served.client.get(f"{API}/persons").json()["people"]) == 3


def test_looking_at_the_list_of_people_is_logged(served: Served) -> None:
    served.client.get(f"{API}/persons", params={"text": "ann"})
    (newest,) = served.client.get(f"{API}/audit", params={"limit": 1}).json()["entries"]
    assert newest["action"] == "list people"
    assert newest["details"] == {"offset": 0, "shown": 1, "by_text": True}


def test_what_was_told_of_those_who_were_merged_is_forgotten_with_them(served: Served) -> None:
    served.events.publish("sighting", {"person_id": 2, "box": "told of 2"})
    served.events.publish("sighting", {"person_id": 3, "box": "told of 3"})
    served.client.post(f"{API}/persons/1/merge", json={"person_ids": [2]})
    served.client.post(f"{API}/persons/1/forget", json={})
    kept = [one.text for one in served.events._kept]
    assert [text for text in kept if "told of 2" in text] == []
    assert [text for text in kept if "told of 3" in text] != []


def test_forgetting_erases_proves_and_leaves_nothing_to_take_back(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    renamed = served.client.put(f"{API}/persons/1/name", json={"name": "Ada"}).json()
    proof = served.client.post(f"{API}/persons/1/forget", json={}).json()
    assert proof["is_proved"]
    assert (proof["sightings"], proof["thumbnails"], proof["suppressed_above"]) == (4, 4, None)
    assert served.client.get(f"{API}/persons/1").status_code == 404
    assert served.client.post(f"{API}/undo/{renamed['undo_id']}").status_code == 404
    assert "Ada" not in served.client.get(f"{API}/persons").text
    found = served.client.post(
        f"{API}/search/picture", content=person_picture(0), headers=JPEG
    ).json()
    assert 1 not in {one["sighting"]["person_id"] for one in found["found"]}
    # The name is barred, too.
    assert served.client.post(f"{API}/persons", json={"name": "Ada"}).status_code == 409


def test_whoever_asked_to_stay_out_is_refused_later(served: Served) -> None:
    served.client.post(f"{API}/persons/1/forget", json={"suppress_above": 0.9})
    answer = served.client.post(
        f"{API}/persons/2/picture", content=person_picture(0, 7), headers=JPEG
    )
    assert answer.json() == {"sighting_ids": [None]}


def test_a_name_that_the_command_line_takes_is_taken_here(served: Served) -> None:
    for name in ("علی\u200cرضا", "👩\u200d👧"):
        answer = served.client.put(f"{API}/persons/1/name", json={"name": name})
        assert answer.status_code == 200, answer.text
        assert served.client.get(f"{API}/persons/1").json()["name"] == name
    served.client.put(f"{API}/persons/1/name", json={"name": "\u202ennA"})
    assert served.client.get(f"{API}/persons/1").json()["name"] == "nnA"
    for name in ("a\x1b[31m", "\u200b"):
        answer = served.client.put(f"{API}/persons/1/name", json={"name": name})
        assert (answer.status_code, answer.json()["problem"]) == (422, "not_usable")


def change(served: Served, method: str, path: str, content: object) -> str:
    answer = served.client.request(method, f"{API}{path}", json=content)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["undo_id"])


def undo(served: Served, undo_id: str) -> int:
    return served.client.post(f"{API}/undo/{undo_id}").status_code


def test_undoing_a_name_leaves_the_name_that_somebody_else_has_given_since(served: Served) -> None:
    first = change(served, "PUT", "/persons/3/name", {"name": "Cleo"})
    second = change(served, "PUT", "/persons/3/name", {"name": "Dora"})
    assert undo(served, first) == 409
    assert served.client.get(f"{API}/persons/3").json()["name"] == "Dora"
    assert undo(served, second) == 200
    assert served.client.get(f"{API}/persons/3").json()["name"] == "Cleo"


def test_undoing_a_merge_or_a_split_leaves_a_name_given_since(served: Served) -> None:
    merged = change(served, "POST", "/persons/3/merge", {"person_ids": [2]})
    change(served, "PUT", "/persons/3/name", {"name": "Cleo"})
    assert undo(served, merged) == 200
    names = {one.person_id: one.name for one in served.gallery.persons()}
    assert names == {1: "Anna", 2: "Bela", 3: "Cleo"}
    split = change(served, "POST", "/persons/1/split", {"sighting_ids": of(served, 1)[:1]})
    change(served, "PUT", "/persons/1/name", {"name": "Ada"})
    assert undo(served, split) == 200
    names = {one.person_id: one.name for one in served.gallery.persons()}
    assert names == {1: "Ada", 2: "Bela", 3: "Cleo"}


@pytest.mark.parametrize("path", ["/persons/2/sightings", "/review/set-aside"])
def test_undoing_an_assignment_leaves_what_was_decided_since(served: Served, path: str) -> None:
    one, other = of(served, 1)[:2]
    first = change(served, "POST", path, {"sighting_ids": [one, other]})
    change(served, "POST", "/persons/3/sightings", {"sighting_ids": [one]})
    assert undo(served, first) == 200
    assert [record.person_id for record in served.gallery.get([one, other])] == [3, 1]
    again = change(served, "POST", path, {"sighting_ids": [other]})
    change(served, "POST", "/persons/3/sightings", {"sighting_ids": [other]})
    assert undo(served, again) == 409
    assert other in of(served, 3)


@pytest.mark.parametrize("path", ["/persons/3/sightings", "/review/set-aside"])
def test_an_undo_after_an_erasure_gives_back_the_rest(served: Served, path: str) -> None:
    one, other = of(served, 1)[:2]
    change_id = change(served, "POST", path, {"sighting_ids": [one, other]})
    served.gallery.delete([one])
    assert undo(served, change_id) == 200
    assert other in of(served, 1)


def test_an_undo_that_is_possible_for_some_owners_only_changes_nothing(served: Served) -> None:
    one, other = of(served, 1)[0], of(served, 2)[0]
    assigned = change(served, "POST", "/persons/3/sightings", {"sighting_ids": [one, other]})
    change(served, "POST", "/persons/1/merge", {"person_ids": [2]})
    assert undo(served, assigned) == 409
    assert {one, other} <= set(of(served, 3))


def test_pictures_of_a_person_are_of_theirs_even_if_their_number_and_times_stay(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(keep_pictures=True)
    served.fill(thumbnails=True)
    before = served.client.get(f"{API}/persons/3").json()
    given, taken = of(served, 3)[0], of(served, 1)[0]
    assert given in before["picture_ids"]
    change(served, "POST", "/persons/1/sightings", {"sighting_ids": [given]})
    change(served, "POST", "/persons/3/sightings", {"sighting_ids": [taken]})
    after = served.client.get(f"{API}/persons/3").json()
    assert (after["num_sightings"], after["last_seen_s"]) == (4, before["last_seen_s"])
    assert set(after["picture_ids"]) <= set(of(served, 3))


def test_what_another_operator_has_changed_since_is_not_changed_again(served: Served) -> None:
    seen = [{"person_id": 3, "name": None}]
    named = {"name": "Cleo", "expected": seen}
    assert served.client.put(f"{API}/persons/3/name", json=named).status_code == 200
    # The other one has the same list of decisions before them.
    late = served.client.put(f"{API}/persons/3/name", json={"name": "Dora", "expected": seen})
    assert (late.status_code, late.json()["problem"]) == (412, "changed_since")
    assert "Cleo" in late.json()["message"]
    merge = {"person_ids": [3], "expected": seen}
    assert served.client.post(f"{API}/persons/1/merge", json=merge).status_code == 412
    assert [one.name for one in served.gallery.persons()] == ["Anna", "Bela", "Cleo"]
    gone = {"name": "Dora", "expected": [{"person_id": 9, "name": None}]}
    assert served.client.put(f"{API}/persons/3/name", json=gone).status_code == 404


def test_sightings_that_somebody_else_has_assigned_since_stay_where_they_are(
    served: Served,
) -> None:
    (looked_at, *_) = of(served, 2)
    served.gallery.assign([looked_at], None)
    asked = {"sighting_ids": [looked_at], "expected_owner": None}
    assert served.client.post(f"{API}/persons/1/sightings", json=asked).status_code == 200
    assert served.client.post(f"{API}/persons/3/sightings", json=asked).status_code == 412
    assert looked_at in of(served, 1)
    # Without an expectation, as before.
    plain = {"sighting_ids": [looked_at]}
    assert served.client.post(f"{API}/persons/3/sightings", json=plain).status_code == 200


def test_an_undo_that_cannot_be_recorded_is_still_possible_later(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = served.client.put(f"{API}/persons/1/name", json={"name": "Ada"}).json()
    undo = f"{API}/undo/{done['undo_id']}"

    def full(*args: object, **kwargs: object) -> None:
        raise ServiceError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(served.state, "record", full)
        assert served.client.post(undo).status_code == 503
    assert served.client.post(undo).json() == {"action": "name"}
    assert served.client.get(f"{API}/persons/1").json()["name"] == "Anna"
