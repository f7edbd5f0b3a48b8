import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_service import Served

from adln.gallery.records import Person
from adln.service.people import STALE_S, People


def test_own_changes_show_at_once_and_others_after_a_moment(served: Served) -> None:
    now = [0.0]
    people = People(served.gallery, clock=lambda: now[0])
    assert len(people.by_id()) == 3
    served.gallery.enrol("Cleo")
    assert len(people.by_id()) == 3
    now[0] = STALE_S + 1
    assert len(people.by_id()) == 4
    served.gallery.enrol("Dora")
    people.changed()
    assert len(people.by_id()) == 5


def test_whoever_asks_during_a_reading_that_began_before_a_change_waits_for_the_next(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(served.gallery)
    reading, go_on = threading.Event(), threading.Event()
    read = served.gallery.persons

    def slowly() -> list[Person]:
        found = read()
        reading.set()
        assert go_on.wait(30)
        return found

    monkeypatch.setattr(served.gallery, "persons", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(people.names)
        assert reading.wait(30)
        served.gallery.name_person(1, "Ada")
        people.changed()
        second = pool.submit(people.names)
        go_on.set()
        assert first.result(30)[1] == "Anna"
        assert second.result(30)[1] == "Ada"
    assert people.names()[1] == "Ada"
