from fake_service import Served

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
