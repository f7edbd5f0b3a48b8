import pytest

from adln.errors import GalleryError
from adln.gallery.records import Person
from adln.pipeline.people import ReportedPeople


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Register:
    """Stands for a gallery."""

    def __init__(self, **names: str | None) -> None:
        self.names: dict[int, str | None] = {int(key[1:]): name for key, name in names.items()}
        self.is_broken = False
        self.asked = 0

    def __call__(self) -> list[Person]:
        self.asked += 1
        if self.is_broken:
            raise GalleryError("the disk is busy")
        return [
            Person(
                person_id=number,
                name=name,
                num_sightings=0,
                first_seen_s=None,
                last_seen_s=None,
                cameras=(),
            )
            for number, name in self.names.items()
        ]


def test_a_new_name_is_known_a_moment_later_and_the_gallery_is_not_asked_all_the_time() -> None:
    register, clock = Register(p7=None), Clock()
    people = ReportedPeople(register, every_s=10.0, clock=clock)
    assert people.name_of(7) is None
    register.names = {7: "Anna", 8: None}
    clock.now_s = 9.0
    assert people.name_of(7) is None
    assert register.asked == 1
    clock.now_s = 10.0
    assert people.name_of(7) == "Anna"
    assert people.name_of(None) is None


def test_while_the_gallery_cannot_be_read_nobody_vanishes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    register, clock = Register(p7="Anna"), Clock()
    register.is_broken = True
    people = ReportedPeople(register, every_s=10.0, clock=clock)
    assert people.names() is None
    register.is_broken = False
    clock.now_s = 10.0
    assert people.names() == {7: "Anna"}
    register.is_broken = True
    for clock.now_s in (20.0, 30.0):
        assert people.names() == {7: "Anna"}
    assert caplog.text.count("cannot be read") == 2


def test_ignored_people_are_known_by_their_names() -> None:
    people = ReportedPeople(Register(p7="Anna", p8="Ben", p9=None), ignored=[" Anna "])
    assert [number for number in (7, 8, 9, None) if people.is_ignored(number)] == [7]
    # Whoever has no name is ignored by number, and whoever is called otherwise stays so.
    people = ReportedPeople(Register(p7="Anna", p9=None), ignored=["id:9", "id:7"])
    assert [number for number in (7, 8, 9, None) if people.is_ignored(number)] == [7, 9]
    # As some programs write é.
    assert ReportedPeople(Register(p7="Zo\u00e9"), ignored=["Zoe\u0301"]).is_ignored(7)
    assert not ReportedPeople(Register(p7="Anna")).is_ignored(7)
