from collections.abc import Callable

from fake_service import NOW_S, Served

from adln.gallery.records import Filter
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


def test_people_who_cannot_pass_a_filter_do_not_count(
    make_served: Callable[..., Served],
) -> None:
    made = make_served()
    anna, bela, _ = made.fill()
    made.gallery.enrol("nobody has seen her")
    people = People(made.gallery)
    assert people.count() == 3
    assert people.count(Filter(from_s=NOW_S + 100)) == 2
    assert people.count(Filter(until_s=NOW_S + 100)) == 1
    assert people.count(Filter(cameras=frozenset({9}))) == 0
    assert people.count(Filter(not_cameras=frozenset({0, 1}))) == 0
    assert people.count(Filter(persons=frozenset({anna, bela}))) == 2
    assert people.count(Filter(not_persons=frozenset({anna}))) == 2
