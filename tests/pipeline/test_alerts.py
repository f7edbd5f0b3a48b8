import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from adln.cameras.clocks import Backoff
from adln.errors import DeliveryError, GalleryError, SettingsError, UndeliveredError
from adln.gallery.records import Person
from adln.pipeline.alert_settings import AlertSettings, seconds, within_hours
from adln.pipeline.alerts import AlertSink, CommandSink
from adln.pipeline.assembly import open_delivery
from adln.pipeline.delivery import REFUSALS, Delivery
from adln.pipeline.outbox import Outbox, StoredEvent
from adln.pipeline.people import ReportedPeople, leaving_out
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import read_watch_settings
from adln.settings import from_mapping

Make = Callable[..., SightingEvent]
CET = timezone(timedelta(hours=1))
ANNA, BEN, UNNAMED = 7, 8, 9


def persons() -> list[Person]:
    names = {ANNA: "Anna", BEN: "Ben", UNNAMED: None}
    return [
        Person(
            person_id=number,
            name=name,
            num_sightings=1,
            first_seen_s=0.0,
            last_seen_s=0.0,
            cameras=(1,),
        )
        for number, name in names.items()
    ]


def rule_of(*, ignore: Sequence[str] = (), **rule: Any) -> AlertSink:
    found = from_mapping(AlertSettings, {"name": "night", **rule}, source="test")
    return AlertSink(found, ReportedPeople(persons, ignored=ignore), Way(), zone=CET)


class Log:
    """Makes sightings by a clock that a test sets, and tells which were worth an alert."""

    def __init__(self, make_event: Make, rule: AlertSink) -> None:
        self.at = datetime(2026, 5, 1, 12, 0, tzinfo=CET)
        self._make, self._rule, self._number = make_event, rule, 0

    def __call__(self, person: int | None = ANNA, **changes: Any) -> bool:
        self._number += 1
        now_s = self.at.timestamp()
        values: dict[str, Any] = {
            "person_id": person,
            "verdict": "unknown" if person is None else "matched",
            "first_time_s": now_s - 1,
            "last_time_s": now_s,
            "track_id": self._number,
        }
        event = self._make(self._number, **{**values, **changes})
        due = self._rule.is_due(event)
        if due:
            self._rule.told(event)
        return due


def test_a_rule_is_about_one_person_by_name(make_event: Make) -> None:
    seen = Log(make_event, rule_of(person="Anna"))
    assert [seen(person) for person in (BEN, UNNAMED, None, ANNA)] == [False, False, False, True]
    again = Log(make_event, rule_of(person="Anna"))
    assert not again(ANNA, verdict="candidate")


def test_a_rule_is_about_somebody_however_their_name_is_encoded(make_event: Make) -> None:
    is_worth = Log(make_event, rule_of(person="A\u200bnna"))
    assert is_worth(ANNA)
    assert not is_worth(BEN)


def test_unknown_is_whoever_has_no_name(make_event: Make) -> None:
    seen = Log(make_event, rule_of(person="unknown", not_again_within="0s"))
    assert [seen(person) for person in (ANNA, UNNAMED, None)] == [False, True, True]
    assert seen(12, verdict="unknown", new_person=True)
    assert not seen(ANNA, verdict="candidate")


def test_anybody_is_everybody(make_event: Make) -> None:
    seen = Log(make_event, rule_of())
    assert all(seen(person) for person in (ANNA, BEN, UNNAMED, None))


def test_who_is_ignored_raises_no_alert(make_event: Make) -> None:
    seen = Log(make_event, rule_of(ignore=["Anna"], not_again_within="0s"))
    assert [seen(person) for person in (ANNA, BEN, None)] == [False, True, True]
    # Who may only be Anna may be somebody else.
    assert seen(ANNA, verdict="candidate")


def test_only_the_cameras_that_were_named_count(make_event: Make) -> None:
    seen = Log(make_event, rule_of(cameras=["yard", "shed"], not_again_within="0s"))
    assert [seen(camera_name=name) for name in ("door", "yard", "shed")] == [False, True, True]


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
        ("08:30-17:00", ["08:30", "16:59"], ["08:29", "17:00", "00:00"]),
        ("18:00-24:00", ["18:00", "23:59"], ["00:00", "17:59"]),
        ("", ["00:00", "12:00"], []),
    ],
)
def test_hours_are_those_of_the_place(
    make_event: Make, hours: str, inside: list[str], outside: list[str]
) -> None:
    seen = Log(make_event, rule_of(hours=hours, not_again_within="0s"))

    def at(clock: str) -> bool:
        hour, minute = map(int, clock.split(":"))
        seen.at = seen.at.replace(hour=hour, minute=minute)
        return seen()

    assert all(map(at, inside))
    assert not any(map(at, outside))


def test_not_again_within_goes_for_each_person(make_event: Make) -> None:
    seen = Log(make_event, rule_of(not_again_within="10m"))
    assert seen(ANNA)
    assert seen(BEN)
    seen.at += timedelta(minutes=9, seconds=59)
    assert not seen(ANNA)
    seen.at += timedelta(seconds=1)
    assert seen(ANNA)
    # What was refused did not begin another ten minutes; what was told did.
    seen.at += timedelta(minutes=9)
    assert not seen(ANNA)
    assert seen(BEN)


def test_a_track_raises_one_alert_however_often_it_is_reported(make_event: Make) -> None:
    seen = Log(make_event, rule_of(not_again_within="0s"))
    assert [seen(track_id=5), seen(track_id=5), seen(track_id=6)] == [True, False, True]
    assert seen(track_id=5, camera_id=2)


class Way:
    """Takes alerts, or not."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.ids: list[str] = []
        self.is_blocked = False

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        if self.is_blocked:
            raise UndeliveredError("blocked", refused=True)
        self.bodies += [event.body for event in events]
        self.ids += [event.event_id for event in events]

    def close(self) -> None:
        self.is_blocked = True


def test_an_alert_is_tried_again_with_the_same_id_and_says_no_name(
    make_stored: Callable[[int], StoredEvent],
) -> None:
    way, rule = Way(), AlertSettings(name="night", not_again_within="1s")
    sink = AlertSink(rule, ReportedPeople(persons), way, zone=CET)
    events = [make_stored(number) for number in range(3)]
    sink.deliver(events[:1])
    way.is_blocked = True
    with pytest.raises(UndeliveredError) as caught:
        sink.deliver(events[1:])
    assert (caught.value.acknowledged, caught.value.refused) == (0, True)
    way.is_blocked = False
    sink.deliver(events[1:])
    assert len(way.bodies) == len(set(way.ids)) == 3
    alert = json.loads(way.bodies[0])
    assert alert["format"] == "adln-alert-1"
    assert alert["alert_id"] == way.ids[0]
    assert (alert["alert"], alert["camera_name"], alert["person_id"]) == ("night", "entrance", ANNA)
    assert alert["person_name"] is None
    assert alert["event_id"] == events[0].event_id
    sink.close()
    assert way.is_blocked


def test_an_alert_says_the_name_if_it_may(make_event: Make) -> None:
    assert json.loads(rule_of(names=True).alert(make_event(1)))["person_name"] == "Anna"


def test_as_long_as_nobody_says_who_is_who_nobody_is_called_unknown(
    make_stored: Callable[[int], StoredEvent],
) -> None:
    def broken() -> list[Person]:
        raise GalleryError("the disk is busy")

    way, rule = Way(), AlertSettings(name="night", person="unknown")
    with pytest.raises(UndeliveredError, match="gallery cannot be read"):
        AlertSink(rule, ReportedPeople(broken), way).deliver([make_stored(1)])
    assert not way.bodies


def test_a_command_gets_the_alert_on_its_input_and_no_shell_reads_it(
    tmp_path: Path, make_stored: Callable[[int], StoredEvent]
) -> None:
    code = "import sys; open('out', 'a').write(sys.argv[1] + sys.stdin.read())"
    sink = CommandSink([sys.executable, "-c", code, "$HOME; `id`\n"], folder=tmp_path)
    sink.deliver([make_stored(1), make_stored(2)])
    written = (tmp_path / "out").read_text(encoding="utf-8").splitlines()
    assert written[0] == "$HOME; `id`"
    assert SightingEvent.from_json(written[1].removesuffix("$HOME; `id`")).track_id == 1


def test_a_command_that_fails_or_hangs_acknowledges_nothing_and_shows_no_arguments(
    tmp_path: Path, make_stored: Callable[[int], StoredEvent]
) -> None:
    fails = CommandSink(
        [sys.executable, "-c", "raise SystemExit(3)", "--token=secret"], folder=tmp_path
    )
    with pytest.raises(UndeliveredError, match="exit status 3") as caught:
        fails.deliver([make_stored(1)])
    assert not caught.value.refused
    assert "secret" not in str(caught.value)
    hangs = CommandSink(
        [sys.executable, "-c", "import time; time.sleep(60)", "--token=secret"],
        folder=tmp_path,
        timeout_s=0.3,
    )
    with pytest.raises(UndeliveredError, match=r"did not finish within 0\.3 s") as caught:
        hangs.deliver([make_stored(1)])
    assert not caught.value.refused
    assert "secret" not in str(caught.value)
    program = tmp_path / "ring"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o700)
    with pytest.raises(UndeliveredError, match="No such file") as caught:
        CommandSink([str(program)], folder=tmp_path).deliver([make_stored(1)])
    assert not caught.value.refused
    with pytest.raises(DeliveryError, match="no such program"):
        CommandSink(["no-such-program-at-all"], folder=tmp_path)


def test_a_command_can_give_one_alert_up(
    tmp_path: Path, make_stored: Callable[[int], StoredEvent]
) -> None:
    code = "import sys; sys.exit(65 * ('\"track_id\":2,' in sys.stdin.read()))"
    sink = CommandSink([sys.executable, "-c", code], folder=tmp_path)
    with pytest.raises(UndeliveredError, match="exit status 65") as caught:
        sink.deliver([make_stored(1), make_stored(2), make_stored(3)])
    assert (caught.value.acknowledged, caught.value.refused) == (1, True)


def test_an_alert_outlasts_a_command_that_fails_for_a_while(
    tmp_path: Path, make_event: Make
) -> None:
    """More often than a receiver may refuse an alert before it is set aside."""
    code = (
        "import pathlib, sys; tries = pathlib.Path('tries'); tries.open('a').write('.'); "
        f"sys.exit(tries.stat().st_size <= {REFUSALS + 2})"
    )
    way = CommandSink([sys.executable, "-c", code], folder=tmp_path)
    rule = AlertSettings(name="night", to="command")
    delivery = Delivery(
        Outbox(tmp_path / "outbox.db", ["alert-night"]),
        {"alert-night": AlertSink(rule, ReportedPeople(persons), way)},
        backoff=lambda: Backoff(first_s=0.01, longest_s=0.01),
    )
    delivery.submit(make_event(1))
    assert delivery.drain(20)
    counts = delivery.counts().sinks["alert-night"]
    delivery.close()
    assert (counts.delivered, counts.set_aside) == (1, 0)
    assert (tmp_path / "tries").stat().st_size == REFUSALS + 3


def test_nothing_is_handed_on_of_people_who_are_ignored(make_event: Make) -> None:
    handed: list[int | None] = []
    submit = leaving_out(
        lambda event: handed.append(event.person_id), ReportedPeople(persons, ignored=["Anna"])
    )
    submit(make_event(1, person_id=ANNA))
    submit(make_event(2, person_id=BEN))
    submit(make_event(3, person_id=ANNA, verdict="candidate"))
    submit(make_event(4, person_id=None, verdict="unknown"))
    assert handed == [BEN, ANNA, None]


CAMERA = '[[cameras]]\nname = "door"\nnumber = 1\nsource = "door"\n'


def test_alerts_of_a_settings_file_reach_their_command(tmp_path: Path, make_event: Make) -> None:
    code = "import sys; open('alerts', 'a').write(sys.stdin.read() + chr(10))"
    path = tmp_path / "watch.toml"
    path.write_text(
        CAMERA + '[[alerts]]\nname = "ben"\nperson = "Ben"\nto = "command"\nnames = true\n'
        f"command = {json.dumps([sys.executable, '-c', code])}\n",
        encoding="utf-8",
    )
    settings = read_watch_settings(path)
    with pytest.raises(SettingsError, match="needs a gallery to know"):
        open_delivery(settings, tmp_path)
    delivery = open_delivery(settings, tmp_path, people=ReportedPeople(persons))
    for number, person in enumerate((ANNA, BEN, BEN)):
        delivery.submit(make_event(number, person_id=person))
    assert delivery.drain(20)
    delivery.close()
    lines = (tmp_path / "alerts").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["person_name"] for line in lines] == ["Ben"]
    assert len((tmp_path / "sightings.jsonl").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("", "needs a name"),
        ('name = "a b"', "letters"),
        ('name = "a"', "mqtt.host"),
        ('name = "a"\nto = "webhook"', "url"),
        ('name = "a"\nto = "command"', "command"),
        ('name = "a"\nto = "mail"', "mqtt"),
        ('name = "a"\nperson = ""', "person"),
        ('name = "a"\nto = "command"\ncommand = ["x"]\ncameras = ["attic"]', "attic"),
        ('name = "a"\nnot_again_within = "soon"', "not_again_within"),
        ('name = "a"\nhours = "22-6"', "hours"),
        ('name = "a"\nhours = "22:00-22:00"', "hours"),
        ('name = "a"\nhours = "25:00-06:00"', "hours"),
    ],
)
def test_settings_are_checked(tmp_path: Path, lines: str, fault: str) -> None:
    path = tmp_path / "watch.toml"
    path.write_text(f"{CAMERA}[[alerts]]\n{lines}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=fault):
        read_watch_settings(path)


def test_two_alerts_need_two_names(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    alert = '[[alerts]]\nname = "a"\nto = "command"\ncommand = ["x"]\n'
    path.write_text(CAMERA + alert + alert, encoding="utf-8")
    with pytest.raises(SettingsError, match="2 alerts"):
        read_watch_settings(path)


def test_lengths_of_time_and_hours_of_this_machine() -> None:
    assert [seconds(text) for text in ("30s", "10m", "2h", "1d")] == [30, 600, 7200, 86400]
    assert within_hours("00:00-24:00", 1_700_000_000.0)
