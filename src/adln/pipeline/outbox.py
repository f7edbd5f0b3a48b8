"""The outbox: stores sightings on disk before they are sent, until all receivers have them.

A SQLite file in WAL mode with ``synchronous=FULL``. An append-only file would need its own
solutions for a torn last line, for receivers at different positions, and for freeing space;
SQLite's are better tested. Stored sightings survive ``kill -9`` and a power cut; on a full disk a
write fails as a whole and the file stays intact.

Each receiver (sink) has its own position in one common order. Delivery is at least once: if the
power fails between a receiver's acknowledgement and our record of it, the receiver gets that
sighting again, with the same ``event_id``.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adln.errors import DeliveryError
from adln.gallery.database import writing
from adln.pipeline.sightings import SightingEvent

MAX_BYTES = 64 * 2**20
"""About 130,000 sightings without pictures."""
MAX_SET_ASIDE = 10_000

_log = logging.getLogger(__name__)
_LAYOUT = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    camera_name TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sinks (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    set_aside INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS set_aside (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    event_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    body TEXT NOT NULL
);
"""
_BYTES = "coalesce(sum(length(body)), 0)"
# Files of earlier versions have no person_id column.
_PERSONS = """
ALTER TABLE {table} ADD COLUMN person_id INTEGER;
UPDATE {table} SET person_id = json_extract(body, '$.person_id') WHERE json_valid(body);
CREATE INDEX {table}_by_person ON {table} (person_id)
"""


class StoredEvent(NamedTuple):
    """A sighting in the outbox.

    Attributes:
        position: Position in the common order, ascending, never reused.
        body: The sighting as one line of JSON.
    """

    position: int
    event_id: str
    camera_name: str
    body: str


@dataclass(frozen=True, kw_only=True)
class SinkCounts:
    """Status of one receiver; all counts except `pending` since the outbox was created.

    Attributes:
        pending: Stored and not yet acknowledged.
        delivered: Acknowledged.
        dropped: Dropped because the outbox was full before they could be sent.
        set_aside: Permanently refused by the receiver; kept in the table ``set_aside``.
    """

    pending: int
    delivered: int
    dropped: int
    set_aside: int


class Outbox:
    """Keeps sightings until every sink has acknowledged them.

    One process at a time may have it open; its threads share it.

    The file at `path` is created if missing; a damaged one is renamed, with an error in the log,
    and replaced by an empty one. A new sink gets everything still stored; one no longer named is
    forgotten and holds nothing back. If the text of the stored sightings exceeds `max_bytes`, the
    oldest are dropped, counted for each sink that had not received them, and logged.

    Raises:
        DeliveryError: The file cannot be opened, or another process has it open.
    """

    def __init__(
        self, path: str | Path, sinks: Sequence[str], *, max_bytes: int = MAX_BYTES
    ) -> None:
        if not sinks or len(set(sinks)) != len(sinks):
            raise DeliveryError(f"An outbox needs one or more distinct sinks, got {list(sinks)}.")
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._is_closed = False
        self._db = self._open()
        try:
            with writing(self._db):
                self._meet(sinks)
            self._num_bytes = self._number(f"SELECT {_BYTES} FROM events")
        except sqlite3.Error as error:
            self._db.close()
            raise self._failed("opened", error) from error
        # Newer than the positions in the file if a full disk prevented writing those.
        self._positions: dict[str, int] = dict(
            self._db.execute("SELECT name, position FROM sinks").fetchall()
        )
        self._unwritten: dict[str, int] = dict.fromkeys(sinks, 0)

    def append(self, events: Sequence[SightingEvent]) -> None:
        """Store sightings, all or none; on return they are durable.

        A sighting whose ``event_id`` is stored already is not stored again.

        Raises:
            DeliveryError: The disk is full or broken; nothing was stored.
        """
        rows = [
            (event.event_id, event.camera_name, event.to_json(), event.person_id)
            for event in events
        ]
        with self._using("written"):
            with writing(self._db):
                added = 0
                for row in rows:
                    done = self._db.execute(
                        "INSERT INTO events (event_id, camera_name, body, person_id)"
                        " VALUES (?, ?, ?, ?)"
                        " ON CONFLICT (event_id) DO NOTHING",
                        row,
                    )
                    # SQLite's length() counts characters, as this does.
                    added += len(row[2]) * done.rowcount
                freed = self._make_room(self._num_bytes + added - self._max_bytes)
            self._num_bytes += added - freed

    def pending(self, sink: str, limit: int) -> list[StoredEvent]:
        """The oldest sightings that a sink has not acknowledged, in order.

        Raises:
            DeliveryError: The file cannot be read.
        """
        with self._using("read"):
            rows = self._db.execute(
                "SELECT position, event_id, camera_name, body FROM events"
                " WHERE position > ? ORDER BY position LIMIT ?",
                (self._positions[sink], limit),
            ).fetchall()
        return [StoredEvent(*row) for row in rows]

    def acknowledge(self, sink: str, events: Sequence[StoredEvent]) -> None:
        """Record that a sink has received the given sightings, the oldest of its pending ones.

        Sightings received by all sinks are erased. A record that cannot be written (a full disk) is
        kept in memory until the next one; only a restart in between sends the sightings again.
        """
        if not events:
            return
        with self._lock:
            self._positions[sink] = events[-1].position
            self._unwritten[sink] += len(events)
            self._write_positions()

    def set_aside(self, sink: str, event: StoredEvent, reason: str) -> None:
        """Skip a sighting that a sink refuses permanently, and keep it in the table ``set_aside``.

        Raises:
            DeliveryError: The disk is full or broken; nothing has changed.
        """
        with self._using("written"):
            with writing(self._db):
                self._db.execute(
                    "INSERT INTO set_aside (sink, event_id, reason, body, person_id) VALUES"
                    " (?, ?, ?, ?, (SELECT person_id FROM events WHERE position = ?))",
                    (sink, event.event_id, reason, event.body, event.position),
                )
                self._db.execute(
                    "DELETE FROM set_aside WHERE number <= (SELECT max(number) FROM set_aside) - ?",
                    (MAX_SET_ASIDE,),
                )
                self._db.execute(
                    "UPDATE sinks SET position = ?, set_aside = set_aside + 1 WHERE name = ?",
                    (event.position, sink),
                )
            self._positions[sink] = event.position

    def persons(self) -> frozenset[int]:
        """Numbers of all people with stored sightings, including those set aside.

        Raises:
            DeliveryError: The file cannot be read.
        """
        with self._using("read"):
            rows = self._db.execute(
                "SELECT DISTINCT person_id FROM events UNION "
                "SELECT DISTINCT person_id FROM set_aside"
            ).fetchall()
        return frozenset(number for (number,) in rows if number is not None)

    def purge(self, person_ids: Collection[int]) -> int:
        """Erase all sightings of people, also from the file's free pages and its log; count them.

        Raises:
            DeliveryError: The disk is full or broken; nothing has changed.
        """
        theirs = f"person_id IN ({','.join('?' * len(person_ids))})"
        with self._using("written"):
            with writing(self._db):
                erased, freed = self._erase(theirs, *person_ids)
                erased += self._db.execute(
                    f"DELETE FROM set_aside WHERE {theirs}", tuple(person_ids)
                ).rowcount
            self._num_bytes -= freed
            if erased:
                # Moving rows between pages may have left copies behind.
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return erased

    def counts(self) -> dict[str, SinkCounts]:
        """Status of each sink.

        Raises:
            DeliveryError: The file cannot be read.
        """
        with self._using("read"):
            rows = self._db.execute("SELECT name, delivered, dropped, set_aside FROM sinks")
            return {
                name: SinkCounts(
                    pending=self._number(
                        "SELECT count(*) FROM events WHERE position > ?", self._positions[name]
                    ),
                    delivered=delivered + self._unwritten[name],
                    dropped=dropped,
                    set_aside=set_aside,
                )
                for name, delivered, dropped, set_aside in rows.fetchall()
            }

    def close(self) -> None:
        """Write unsaved positions and close the file; closing twice does nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._write_positions()
                self._db.close()

    # -- the file ----------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self._path.parent.glob(f"{self._path.name}*"):
                if path.stat().st_mode & 0o077:
                    path.chmod(0o600)
            try:
                return self._connect()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._put_damaged_file_aside(error)
                return self._connect()
        except (OSError, sqlite3.Error) as error:
            raise self._failed("opened", error) from error

    def _connect(self) -> sqlite3.Connection:
        # The file may contain pictures of people. Its log gets the same permissions.
        self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive: a second process on the same outbox would send everything twice.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA secure_delete = ON")
            # Otherwise temporary tables would be files with people's data.
            db.execute("PRAGMA temp_store = MEMORY")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_size_limit = 1048576")
            # Checkpoint every 100 pages of 4 KiB, so that the log does not fill a small disk.
            db.execute("PRAGMA wal_autocheckpoint = 100")
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            db.execute("BEGIN EXCLUSIVE")
            for statement in _LAYOUT.split(";\n"):
                db.execute(statement)
            for table in ("events", "set_aside"):
                columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
                if "person_id" not in columns:
                    for statement in _PERSONS.format(table=table).split(";\n"):
                        db.execute(statement)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _put_damaged_file_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        self._path.rename(aside)
        for ending in ("-wal", "-shm"):
            part = self._path.with_name(self._path.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
        _log.error("%s is damaged (%s); kept as %s, starting a new one", self._path, error, aside)

    @contextmanager
    def _using(self, what: str) -> Iterator[None]:
        """Hold the lock on the file, and turn SQLite's errors into `DeliveryError`."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._failed(what, error) from error

    def _failed(self, what: str, error: Exception) -> DeliveryError:
        hint = "Free some space on its disk, or check which other program uses the file."
        return DeliveryError(f"The outbox {self._path} cannot be {what}: {error}. {hint}")

    # -- the order ---------------------------------------------------------------------------

    def _meet(self, sinks: Sequence[str]) -> None:
        known = {name for (name,) in self._db.execute("SELECT name FROM sinks").fetchall()}
        for name in sorted(known - set(sinks)):
            _log.warning("sink %s is no longer in the settings; the outbox forgets it", name)
            self._db.execute("DELETE FROM sinks WHERE name = ?", (name,))
        for name in sinks:
            if name not in known:
                self._db.execute("INSERT INTO sinks VALUES (?, 0, 0, 0, 0)", (name,))

    def _number(self, query: str, *values: int) -> int:
        number: int = self._db.execute(query, values).fetchone()[0]
        return number

    def _erase(self, where: str, *values: int) -> tuple[int, int]:
        """Erase sightings; returns their number and their length."""
        freed = self._number(f"SELECT {_BYTES} FROM events WHERE {where}", *values)
        return self._db.execute(f"DELETE FROM events WHERE {where}", values).rowcount, freed

    def _make_room(self, excess: int) -> int:
        """Drop the oldest sightings until the excess is gone; return the freed bytes."""
        last = 0
        for position, length in self._db.execute(
            # A single large sighting is kept.
            "SELECT position, length(body) FROM events"
            " WHERE position < (SELECT max(position) FROM events) ORDER BY position"
        ):
            if excess <= 0:
                break
            excess, last = excess - length, position
        if not last:
            return 0
        for name, position in self._positions.items():
            lost = self._number(
                "SELECT count(*) FROM events WHERE position > ? AND position <= ?", position, last
            )
            if lost:
                self._db.execute(
                    "UPDATE sinks SET dropped = dropped + ? WHERE name = ?", (lost, name)
                )
                _log.error(
                    "the outbox %s is full: dropped the oldest %d sightings; sink %s lacks them",
                    self._path,
                    lost,
                    name,
                )
        return self._erase("position <= ?", last)[1]

    def _write_positions(self) -> None:
        """Save the sinks' positions, and erase what all of them have received."""
        try:
            with writing(self._db):
                for name, position in self._positions.items():
                    self._db.execute(
                        "UPDATE sinks SET position = ?, delivered = delivered + ? WHERE name = ?",
                        (position, self._unwritten[name], name),
                    )
                _, freed = self._erase("position <= ?", min(self._positions.values()))
        except sqlite3.Error as error:
            _log.warning("%s: positions could not be saved, will try again: %s", self._path, error)
            return
        self._num_bytes -= freed
        self._unwritten = dict.fromkeys(self._unwritten, 0)
