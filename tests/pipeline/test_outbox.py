import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from adln.errors import DeliveryError
from adln.pipeline.outbox import Outbox, SinkCounts
from adln.pipeline.sightings import SightingEvent

Make = Callable[..., SightingEvent]
FullDisk = Callable[..., AbstractContextManager[None]]


def ids(outbox: Outbox, sink: str = "a") -> list[str]:
    return [event.event_id for event in outbox.pending(sink, 10_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box" / "outbox.db"


def test_sightings_come_out_in_order_and_whole(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a"])
    events = [make_event(n) for n in range(5)]
    outbox.append(events[:3])
    outbox.append(events[3:])
    assert [SightingEvent.from_json(e.body) for e in outbox.pending("a", 10)] == events
    assert len(outbox.pending("a", 2)) == 2
    outbox.close()
    outbox.close()


def test_each_sink_has_its_own_place(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a", "b"])
    events = [make_event(n) for n in range(4)]
    outbox.append(events)
    outbox.acknowledge("a", outbox.pending("a", 3))
    assert ids(outbox, "a") == [events[3].event_id]
    assert ids(outbox, "b") == [event.event_id for event in events]
    assert outbox.counts() == {
        "a": SinkCounts(pending=1, delivered=3, dropped=0, set_aside=0),
        "b": SinkCounts(pending=4, delivered=0, dropped=0, set_aside=0),
    }
    outbox.close()


def test_places_and_sightings_survive_a_restart(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a", "b"])
    outbox.append([make_event(n) for n in range(4)])
    outbox.acknowledge("a", outbox.pending("a", 3))
    outbox.close()
    again = Outbox(path, ["a", "b"])
    assert len(ids(again, "a")) == 1
    assert len(ids(again, "b")) == 4
    assert again.counts()["a"].delivered == 3
    again.close()


def test_what_all_sinks_have_is_erased(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a", "b"])
    outbox.append([make_event(n) for n in range(4)])
    for sink in ("a", "b"):
        outbox.acknowledge(sink, outbox.pending(sink, 10))
    outbox.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (0,)
    db.close()


def test_a_sighting_is_stored_once(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a"])
    outbox.append([make_event(1)])
    outbox.append([make_event(1), make_event(2)])
    assert len(ids(outbox)) == 2
    outbox.close()


def test_beyond_its_bound_the_oldest_are_dropped_counted_and_logged(
    path: Path, make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    size = len(make_event(1).to_json())
    outbox = Outbox(path, ["up", "down"], max_bytes=10 * size)
    events = [make_event(n % 10, event_id=f"e{n:03d}-{'x' * 27}") for n in range(25)]
    for event in events[:8]:
        outbox.append([event])
    outbox.acknowledge("up", outbox.pending("up", 8))
    with caplog.at_level(logging.ERROR):
        outbox.append(events[8:])
    kept = [event.event_id for event in events[-10:]]
    assert ids(outbox, "up") == ids(outbox, "down") == kept
    counts = outbox.counts()
    assert counts["down"].dropped == 15
    assert counts["up"].dropped == 7
    assert "dropped the oldest 15 sightings; sink down lacks them" in caplog.text
    outbox.close()


def test_the_bound_holds_over_a_restart(path: Path, make_event: Make) -> None:
    size = len(make_event(1).to_json())
    for first in (0, 4):
        outbox = Outbox(path, ["a"], max_bytes=5 * size)
        outbox.append([make_event(n) for n in range(first, first + 4)])
        outbox.close()
    outbox = Outbox(path, ["a"], max_bytes=5 * size)
    assert ids(outbox) == [make_event(n).event_id for n in range(3, 8)]
    outbox.close()


def test_the_file_does_not_grow_with_what_passes_through(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a"])
    largest, through = 0, 0
    for start in range(0, 1000, 50):
        outbox.append([make_event(n, crop_jpeg=bytes(18000)) for n in range(start, start + 50)])
        pending = outbox.pending("a", 1000)
        through += sum(len(event.body) for event in pending)
        outbox.acknowledge("a", pending)
        largest = max(largest, sum(part.stat().st_size for part in path.parent.iterdir()))
    outbox.close()
    assert through > 20 * 2**20
    assert largest < 7 * 2**20


def test_a_full_disk_stores_nothing_and_harms_nothing(
    path: Path, make_event: Make, full_disk: FullDisk
) -> None:
    outbox = Outbox(path, ["a"])
    outbox.append([make_event(1)])
    with full_disk(), pytest.raises(DeliveryError, match="Free some space"):
        outbox.append([make_event(n) for n in range(2, 50)])
    assert ids(outbox) == [make_event(1).event_id]
    outbox.append([make_event(2)])
    outbox.close()
    again = Outbox(path, ["a"])
    assert ids(again) == [make_event(1).event_id, make_event(2).event_id]
    again.close()


def test_acknowledgements_on_a_full_disk_are_kept_and_written_later(
    path: Path, make_event: Make, full_disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(path, ["a", "b"])
    outbox.append([make_event(n) for n in range(4)])
    with full_disk(), caplog.at_level(logging.WARNING):
        outbox.acknowledge("a", outbox.pending("a", 2))
        assert len(ids(outbox)) == 2
        assert outbox.counts()["a"].delivered == 2
    assert "will try again" in caplog.text
    outbox.acknowledge("b", outbox.pending("b", 1))
    outbox.close()
    again = Outbox(path, ["a", "b"])
    assert {name: count.delivered for name, count in again.counts().items()} == {"a": 2, "b": 1}
    again.close()


def test_a_refused_sighting_is_out_of_the_way_and_kept(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a"])
    outbox.append([make_event(1), make_event(2)])
    outbox.set_aside("a", outbox.pending("a", 1)[0], "answered 422")
    assert ids(outbox) == [make_event(2).event_id]
    assert outbox.counts()["a"] == SinkCounts(pending=1, delivered=0, dropped=0, set_aside=1)
    outbox.close()
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT sink, event_id, reason FROM set_aside").fetchall()
    db.close()
    assert rows == [("a", make_event(1).event_id, "answered 422")]


def test_a_new_sink_gets_what_is_stored_and_a_removed_one_holds_nothing_back(
    path: Path, make_event: Make
) -> None:
    outbox = Outbox(path, ["a", "gone"])
    outbox.append([make_event(1)])
    outbox.close()
    outbox = Outbox(path, ["a", "new"])
    assert len(ids(outbox, "new")) == 1
    for sink in ("a", "new"):
        outbox.acknowledge(sink, outbox.pending(sink, 1))
    assert set(outbox.counts()) == {"a", "new"}
    outbox.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (0,)
    db.close()


def test_a_damaged_file_is_kept_aside_and_work_goes_on(
    path: Path, make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 500)
    with caplog.at_level(logging.ERROR):
        outbox = Outbox(path, ["a"])
    outbox.append([make_event(1)])
    assert len(ids(outbox)) == 1
    outbox.close()
    assert "is damaged" in caplog.text
    (kept,) = path.parent.glob("outbox.db.damaged-*")
    assert kept.read_bytes().startswith(b"this is no database")


def test_two_processes_cannot_share_an_outbox(path: Path) -> None:
    outbox = Outbox(path, ["a"])
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from adln.errors import DeliveryError\nfrom adln.pipeline.outbox import Outbox\n"
        "try:\n    Outbox(Path(sys.argv[1]), ['a'])\n"
        "except DeliveryError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    outbox.close()
    assert "locked" in done.stdout


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DeliveryError, match="cannot be opened"):
        Outbox(tmp_path / "file" / "outbox.db", ["a"])
    for sinks in ([], ["a", "a"]):
        with pytest.raises(DeliveryError, match="distinct sinks"):
            Outbox(tmp_path / "outbox.db", sinks)


# Appends for ever, and says after each time what is on the disk.
WRITER = """
import sys
from pathlib import Path
from adln.pipeline.outbox import Outbox
from adln.pipeline.sightings import SightingEvent
outbox = Outbox(Path(sys.argv[1]), ["a"])
template = SightingEvent.from_json(sys.argv[2])
from dataclasses import replace
number = int(sys.argv[3])
while True:
    events = [replace(template, event_id=f"e{n}") for n in range(number, number + 3)]
    outbox.append(events)
    sys.stdout.write("".join(f"{event.event_id}\\n" for event in events))
    sys.stdout.flush()
    number += 3
"""


def test_kill_9_in_mid_write_loses_nothing_that_was_acknowledged(
    path: Path, make_event: Make
) -> None:
    acknowledged: list[str] = []
    for round_number in range(3):
        writer = subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER,
                path,
                make_event(0).to_json(),
                str(10_000 * round_number),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        mine = [writer.stdout.readline() for _ in range(20 + 31 * round_number)]
        os.kill(writer.pid, signal.SIGKILL)
        mine += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        # The last line may be torn by the kill; it was not said in full then.
        acknowledged += [line.strip() for line in mine if line.endswith("\n")]
    outbox = Outbox(path, ["a"])
    stored = ids(outbox)
    outbox.close()
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    # Whole batches only, in order.
    numbers = [int(event_id[1:]) for event_id in stored]
    assert numbers == sorted(numbers)
    assert len(stored) % 3 == 0


def test_sightings_of_the_forgotten_are_gone_from_the_file(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a"])
    ours = [make_event(n, person_id=7, crop_jpeg=os.urandom(900)) for n in range(6)]
    others = [make_event(10 + n, person_id=8) for n in range(6)]
    nobodys = [make_event(20, person_id=None, verdict="unknown")]
    outbox.append([*ours[:3], *others, *ours[3:], *nobodys])
    outbox.set_aside("a", outbox.pending("a", 1)[0], "refused")
    assert outbox.persons() == {7, 8}
    assert outbox.purge([7, 99]) == 7
    assert outbox.persons() == {8}
    assert ids(outbox) == [event.event_id for event in [*others, *nobodys]]
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert all(event.to_json()[-200:].encode() not in content for event in ours)
    assert others[0].event_id.encode() in content
    outbox.append([make_event(30)])
    outbox.close()


def test_the_outbox_belongs_to_its_owner(path: Path, make_event: Make) -> None:
    outbox = Outbox(path, ["a"])
    outbox.append([make_event(1)])
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    outbox.close()
    path.chmod(0o644)
    Outbox(path, ["a"]).close()
    assert path.stat().st_mode & 0o777 == 0o600
    # A damaged one and the one that replaces it.
    path.write_bytes(b"no database" * 100)
    path.chmod(0o644)
    Outbox(path, ["a"]).close()
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert len(modes) == 2
    assert set(modes.values()) == {0o600}


def test_an_outbox_of_an_earlier_version_knows_of_whom_its_sightings_are(
    path: Path, make_event: Make
) -> None:
    outbox = Outbox(path, ["a"])
    outbox.append([make_event(1), make_event(2, person_id=9)])
    outbox.close()
    connection = sqlite3.connect(path, isolation_level=None)
    for table in ("events", "set_aside"):
        connection.execute(f"DROP INDEX {table}_by_person")
        connection.execute(f"ALTER TABLE {table} DROP COLUMN person_id")
    connection.close()
    outbox = Outbox(path, ["a"])
    assert outbox.persons() == {7, 9}
    assert outbox.purge([9]) == 1
    assert ids(outbox) == [make_event(1).event_id]
    outbox.close()
