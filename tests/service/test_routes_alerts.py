"""When somebody is told at once: rules are listed, made and removed on the page."""

import tomllib
from typing import Any

import pytest
from fake_service import Served

URL = "https://eve:geheim@home.example/api/webhook/5ecret"
RULE: dict[str, Any] = {
    "name": "night",
    "person": "unknown",
    "cameras": [],
    "hours": "22:00-06:00",
    "not_again_within": "30m",
    "to": "webhook",
    "url": URL,
}


def add(served: Served, **changes: Any) -> Any:
    return served.client.post("/api/v1/setup/alerts", json=RULE | changes)


def test_a_rule_is_added_and_its_address_is_not_shown_again(served: Served) -> None:
    answer = add(served)
    assert answer.status_code == 201
    assert answer.json()["is_watched"] is True
    assert served.cameras.watched is not None
    (rule,) = served.cameras.watched.alerts
    assert (rule.url, rule.hours, rule.person) == (URL, "22:00-06:00", "unknown")
    shown = served.client.get("/api/v1/setup/alerts")
    assert shown.json() == {
        "alerts": [
            {
                "name": "night",
                "person": "unknown",
                "is_known": True,
                "cameras": [],
                "hours": "22:00-06:00",
                "not_again_within": "30m",
                "to": "webhook",
                "where": "home.example",
                "names": False,
            }
        ],
        "has_broker": False,
    }
    assert "geheim" not in answer.text + shown.text
    assert "5ecret" not in answer.text + shown.text


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        ({"hours": "25:00-06:00"}, 422, "hours needs"),
        ({"not_again_within": "often"}, 422, "not_again_within needs"),
        ({"cameras": ["moon"]}, 422, "moon"),
        ({"to": "mqtt", "url": ""}, 422, "mqtt.host"),
        ({"url": ""}, 422, "needs a url"),
        ({"url": "http://10.0.0.9/hook/5ecret"}, 422, "https"),
        ({"url": "https:///hook"}, 422, "address"),
        ({"url": "http://[::1"}, 422, ""),
        ({"url": "file:///etc/passwd"}, 422, ""),
        ({"name": "../x"}, 422, ""),
        ({"to": "command"}, 422, ""),
        ({"command": ["/bin/sh"]}, 422, ""),
        ({"person": "a\x00b"}, 422, ""),
    ],
)
def test_what_the_watch_would_refuse_is_refused_in_its_words(
    served: Served, change: dict[str, Any], status: int, why: str
) -> None:
    answer = add(served, **change)
    assert answer.status_code == status
    assert why in answer.json()["message"]
    assert "5ecret" not in answer.text
    assert "geheim" not in answer.text
    assert not served.settings.own_watch.exists()
    assert served.cameras.watched is None


def test_a_name_is_given_once(served: Served) -> None:
    assert add(served).status_code == 201
    assert add(served).status_code == 409


def test_a_rule_is_removed_and_no_other(served: Served) -> None:
    add(served)
    add(served, name="day", hours="")
    assert served.client.delete("/api/v1/setup/alerts/none").status_code == 404
    answer = served.client.delete("/api/v1/setup/alerts/night").json()
    assert [one["name"] for one in answer["alerts"]] == ["day"]
    assert served.cameras.watched is not None
    assert [one.name for one in served.cameras.watched.alerts] == ["day"]


def test_a_rule_that_runs_a_program_is_shown_without_its_arguments_and_can_be_removed(
    served: Served,
) -> None:
    path = served.settings.own_watch
    path.write_text(
        '[mqtt]\nhost = "broker.local"\n\n[[alerts]]\nname = "bell"\nto = "command"\n'
        'command = ["/usr/bin/ring", "--key=geheim"]\n\n[[alerts]]\nname = "home"\n'
    )
    shown = served.client.get("/api/v1/setup/alerts")
    assert [one["where"] for one in shown.json()["alerts"]] == ["ring", "broker.local, adln/alerts"]
    assert shown.json()["has_broker"] is True
    assert "geheim" not in shown.text
    assert served.client.delete("/api/v1/setup/alerts/bell").status_code == 200
    assert add(served, to="mqtt", url="").status_code == 201


def test_a_rule_about_somebody_who_is_not_called_so_says_so(served: Served) -> None:
    add(served, person="Anna")
    add(served, name="gone", person="Zoe")
    shown = served.client.get("/api/v1/setup/alerts").json()["alerts"]
    assert [one["is_known"] for one in shown] == [True, False]


def test_a_rule_about_somebody_goes_on_under_their_new_name_and_back(served: Served) -> None:
    add(served, person="Anna")
    answer = served.client.put("/api/v1/persons/1/name", json={"name": "Ada"})
    assert served.cameras.watched is not None
    assert [one.person for one in served.cameras.watched.alerts] == ["Ada"]
    assert "Anna" not in served.settings.own_watch.read_text()
    served.client.post(f"/api/v1/undo/{answer.json()['undo_id']}")
    assert [one.person for one in served.cameras.watched.alerts] == ["Anna"]
    # Where the file cannot be changed, they are called so all the same.
    served.settings.own_watch.write_text("cameras = [\n")
    assert served.client.put("/api/v1/persons/1/name", json={"name": "Ada"}).status_code == 200


def test_whoever_is_forgotten_is_forgotten_in_the_rules_as_well(served: Served) -> None:
    add(served, person="Anna")
    add(served, name="all", person="anybody")
    assert served.client.post("/api/v1/persons/1/forget", json={}).status_code == 200
    text = served.settings.own_watch.read_text()
    assert "Anna" not in text
    assert [one["name"] for one in tomllib.loads(text)["alerts"]] == ["all"]
    assert served.cameras.watched is not None
    assert [one.name for one in served.cameras.watched.alerts] == ["all"]


def test_whoever_is_forgotten_is_forgotten_under_all_their_names(served: Served) -> None:
    served.gallery.name_person(2, "Berta")
    add(served, name="a", person="Anna")
    add(served, name="b", person="Berta")
    add(served, name="c", person="Carla")
    with served.settings.own_watch.open("r+") as file:
        rest = file.read()
        file.seek(0)
        file.write('ignore = ["BERTA", "Carla", "id:2"]\n' + rest)
    # Not by the page, which would rename them in the file.
    served.gallery.merge([2], 1)
    served.gallery.name_person(1, "Anna Berg")
    assert served.client.post("/api/v1/persons/1/forget", json={}).status_code == 200
    kept = tomllib.loads(served.settings.own_watch.read_text())
    assert [one["name"] for one in kept["alerts"]] == ["c"]
    assert kept["ignore"] == ["Carla", "id:2"]


def test_a_former_name_that_is_somebody_elses_now_stays(served: Served) -> None:
    served.gallery.name_person(1, "Anna Berg")
    served.gallery.name_person(2, "Anna")
    add(served, person="Anna")
    assert served.client.post("/api/v1/persons/1/forget", json={}).status_code == 200
    kept = tomllib.loads(served.settings.own_watch.read_text())
    assert [one["person"] for one in kept["alerts"]] == ["Anna"]


def test_nobody_is_forgotten_while_their_name_may_stay_in_the_file(served: Served) -> None:
    served.settings.own_watch.write_text("cameras = [\n")
    answer = served.client.post("/api/v1/persons/1/forget", json={})
    assert answer.status_code == 409
    assert "by hand" in answer.json()["message"]
    assert 1 in {person.person_id for person in served.gallery.persons()}
