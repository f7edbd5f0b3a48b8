"""Who is silenced: whether named or not, and whatever they are called later."""

from fake_service import Served


def test_whoever_has_no_name_is_silenced_too_and_a_new_name_changes_nothing(
    served: Served,
) -> None:
    for person_id in (1, 3):
        answer = served.client.put(f"/api/v1/persons/{person_id}/silence", json={"silent": True})
        assert answer.json()["person_ids"] == ([1, 3] if person_id == 3 else [1])
    listed = served.client.get("/api/v1/silenced").json()
    assert [(one["person_id"], one["name"]) for one in listed["people"]] == [(1, "Anna"), (3, None)]
    assert served.gallery.persons()[2].name is None
    assert served.cameras.ignored == {"id:1", "id:3"}
    served.client.put("/api/v1/persons/1/name", json={"name": "Ada"})
    assert served.cameras.ignored == {"id:1", "id:3"}
    assert served.events.silenced == {1, 3}
