import numpy as np

from adln.gallery.records import ModelKey, Sighting
from adln.gallery.routes import Route, movements

HOUR_S = 3600.0


def seen(person: int | None, camera: int, time_s: float, *, depth: int = 2) -> Sighting:
    return Sighting(
        embedding=np.array([1.0, 0.0], np.float32),
        model=ModelKey("ab" * 32, depth, 2),
        camera_id=camera,
        time_s=time_s,
        person_id=person,
    )


def test_each_person_is_counted_once_over_all_cameras_and_days() -> None:
    day_s = 24 * HOUR_S
    found = movements(
        [seen(1, 1, 0.0), seen(1, 2, 60.0), seen(1, 1, day_s), seen(2, 1, 5.0), seen(None, 1, 6.0)],
        within_s=HOUR_S,
    )
    assert found.persons == 2
    assert found.by_camera == {1: 2, 2: 1}


def test_a_route_goes_from_the_last_moment_here_to_the_first_there() -> None:
    moments = [seen(7, 1, 0.0), seen(7, 1, 30.0), seen(7, 2, 90.0), seen(7, 2, 95.0)]
    for order in (moments, moments[::-1]):
        (route,) = movements(order, within_s=HOUR_S).routes
        assert route == Route(person_id=7, from_camera=1, to_camera=2, left_s=30.0, arrived_s=90.0)


def test_who_needs_longer_has_not_come_straight_from_there() -> None:
    moments = [seen(7, 1, 0.0), seen(7, 2, 100.0)]
    assert len(movements(moments, within_s=100.0).routes) == 1
    assert not movements(moments, within_s=99.0).routes


def test_a_track_kept_at_two_depths_is_one_visit() -> None:
    moments = [seen(7, 1, 0.0), seen(7, 1, 0.0, depth=1), seen(7, 2, 9.0), seen(7, 2, 9.0, depth=1)]
    assert len(movements(moments, within_s=HOUR_S).routes) == 1


def test_routes_of_all_people_stand_by_time() -> None:
    moments = [seen(2, 1, 5.0), seen(2, 2, 6.0), seen(1, 2, 1.0), seen(1, 1, 9.0)]
    assert [one.person_id for one in movements(moments, within_s=HOUR_S).routes] == [1, 2]
