"""The outbox: sightings are on the disk before they are sent, and stay until everyone has them.

A SQLite file in WAL mode with ``synchronous=FULL``. An append-only file would need its own answer
to a torn last line, to several receivers that are at different places, and to giving space back;
SQLite has one that is tested harder than ours would be. What was stored survives ``kill -9`` and
a power cut; on a full disk a write fails as a whole and the file stays sound.

Each receiver (sink) has its own place in one common order. Delivery is at least once: if the power
fails between a receiver's acknowledgement and our note of it, the receiver gets that sighting
again, with the same ``event_id``.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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


# Files of earlier versions do not tell in a column of whom a sighting is.
_PERSONS = """
ALTER TABLE {table} ADD COLUMN person_id INTEGER;
UPDATE {table} SET person_id = json_extract(body, '$.person_id') WHERE json_valid(body);
CREATE INDEX {table}_by_person ON {table} (person_id)
"""


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """A sighting in the outbox.

    Attributes:
        position: Its place in the common order, ascending, never given twice.
        event_id: As in the sighting.
        camera_name: As in the sighting.
        body: The sighting as one line of JSON.
    """

    position: int
    event_id: str
    camera_name: str
    body: str


@dataclass(frozen=True, kw_only=True)
class SinkCounts:
    """Where one receiver stands; all but `pending` since the outbox was made.

    Attributes:
        pending: Stored and not yet acknowledged.
        delivered: Acknowledged.
        dropped: Pushed out by newer ones because the outbox was full before they could be sent.
        set_aside: Refused by the receiver for good; kept in the table ``set_aside``.
    """

    pending: int
    delivered: int
    dropped: int
    set_aside: int


class Outbox:
    """Keeps sightings until every sink has acknowledged them.

    One process at a time may have it open; its threads share it.

    Args:
        path: The SQLite file; made if it does not exist. A damaged file is set aside under
            another name, with an error in the log, and an empty one takes its place.
        sinks: Names of the receivers, at least one. A new one gets all that is still stored; one
            that is no longer named is forgotten and holds nothing back.
        max_bytes: Bound on the texts of all stored sightings. Beyond it the oldest are dropped,
            counted for each sink that had not got them, and logged.

    Raises:
        DeliveryError: The file cannot be opened, or another process has it open.
    """

    def __init__(
        self, path: str | Path, sinks: Sequence[str], *, max_bytes: int = MAX_BYTES
    ) -> None:
        if not sinks or len(set(sinks)) != len(sinks):
            raise DeliveryError(f"An outbox needs sinks with different names, got {list(sinks)}.")
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._is_closed = False
        self._db = self._open()
        try:
            with writing(self._db):
                self._meet(sinks)
            row = self._db.execute("SELECT coalesce(sum(length(body)), 0) FROM events").fetchone()
        except sqlite3.Error as error:
            self._db.close()
            raise self._failed("opened", error) from error
        self._num_bytes: int = row[0]
        # Ahead of the file's notes where those could not be written, on a full disk.
        self._positions: dict[str, int] = dict(
            self._db.execute("SELECT name, position FROM sinks").fetchall()
        )
        self._unwritten: dict[str, int] = dict.fromkeys(sinks, 0)

    def append(self, events: Sequence[SightingEvent]) -> None:
        """Store sightings, all or none; on return they are on the disk for good.

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
        return [
            StoredEvent(position=position, event_id=event_id, camera_name=camera, body=body)
            for position, event_id, camera, body in rows
        ]

    def acknowledge(self, sink: str, events: Sequence[StoredEvent]) -> None:
        """Note that a sink has the given sightings, the oldest of its pending ones.

        What all sinks have is erased. If the note cannot be written (a full disk) it is kept in
        memory and written with the next one; only a restart in between would send them again.
        """
        if not events:
            return
        with self._lock:
            self._positions[sink] = events[-1].position
            self._unwritten[sink] += len(events)
            self._write_positions()

    def set_aside(self, sink: str, event: StoredEvent, reason: str) -> None:
        """Take a sighting that a sink refuses for good out of its way, and keep it.

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
        """Numbers of all people of whom there are sightings, also of those set aside.

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
        """Erase all sightings of people, from the file's pages and from its log, too.

        Returns:
            How many were erased.

        Raises:
            DeliveryError: The disk is full or broken; nothing has changed.
        """
        numbers = sorted(person_ids)
        marks = ",".join("?" * len(numbers))
        with self._using("written"):
            with writing(self._db):
                (freed,) = self._db.execute(
                    "SELECT coalesce(sum(length(body)), 0) FROM events "
                    f"WHERE person_id IN ({marks})",
                    numbers,
                ).fetchone()
                erased = sum(
                    self._db.execute(
                        f"DELETE FROM {table} WHERE person_id IN ({marks})", numbers
                    ).rowcount
                    for table in ("events", "set_aside")
                )
            self._num_bytes -= freed
            if erased:
                # Where rows were moved from page to page, copies of them were left.
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return erased

    def counts(self) -> dict[str, SinkCounts]:
        """Where each sink stands.

        Raises:
            DeliveryError: The file cannot be read.
        """
        with self._using("read"):
            rows = self._db.execute("SELECT name, delivered, dropped, set_aside FROM sinks")
            return {
                name: SinkCounts(
                    pending=self._count_after(self._positions[name]),
                    delivered=delivered + self._unwritten[name],
                    dropped=dropped,
                    set_aside=set_aside,
                )
                for name, delivered, dropped, set_aside in rows.fetchall()
            }

    def close(self) -> None:
        """Write what is left to note and close the file; closing twice does nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._write_positions()
                self._db.close()

    # -- the file ----------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # There may be pictures of people in it. Its log gets the same permissions.
            self._path.touch(mode=0o600)
            for path in self._path.parent.glob(f"{self._path.name}*"):
                if path.stat().st_mode & 0o077:
                    path.chmod(0o600)
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._put_damaged_file_aside(error)
                return self._connect()
        except (OSError, sqlite3.Error) as error:
            raise self._failed("opened", error) from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive: a second process on the same outbox would send everything twice.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA secure_delete = ON")
            # Temporary tables would be files beside the outbox, with people's data.
            db.execute("PRAGMA temp_store = MEMORY")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_size_limit = 1048576")
            # Pages of 4 KiB; a small disk shall not fill up with what the outbox says to itself.
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
        """Alone with the file; what SQLite says of it becomes what it cannot be."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._failed(what, error) from error

    def _failed(self, what: str, error: Exception) -> DeliveryError:
        hint = "Free some space on its disk, or check who else uses the file."
        return DeliveryError(f"The outbox {self._path} cannot be {what}: {error}. {hint}")

    # -- the order ---------------------------------------------------------------------------

    def _meet(self, sinks: Sequence[str]) -> None:
        known = {name for (name,) in self._db.execute("SELECT name FROM sinks").fetchall()}
        for name in sorted(known - set(sinks)):
            _log.warning("sink %s is no longer named; the outbox forgets it", name)
            self._db.execute("DELETE FROM sinks WHERE name = ?", (name,))
        for name in sinks:
            if name not in known:
                self._db.execute("INSERT INTO sinks VALUES (?, 0, 0, 0, 0)", (name,))

    def _count_after(self, position: int) -> int:
        row = self._db.execute("SELECT count(*) FROM events WHERE position > ?", (position,))
        count: int = row.fetchone()[0]
        return count

    def _make_room(self, excess: int) -> int:
        """Drop the oldest sightings until the excess is gone; give the freed bytes."""
        if excess <= 0:
            return 0
        freed, last, count = 0, 0, 0
        newest = self._db.execute("SELECT max(position) FROM events").fetchone()[0]
        for position, length in self._db.execute(
            "SELECT position, length(body) FROM events ORDER BY position"
        ):
            if freed >= excess or position == newest:  # a lone large one is kept
                break
            freed, last, count = freed + length, position, count + 1
        if count == 0:
            return 0
        for name, position in self._positions.items():
            lost = self._db.execute(
                "SELECT count(*) FROM events WHERE position > ? AND position <= ?", (position, last)
            ).fetchone()[0]
            if lost:
                self._db.execute(
                    "UPDATE sinks SET dropped = dropped + ? WHERE name = ?", (lost, name)
                )
                _log.error(
                    "the outbox %s is full: %d oldest sightings were dropped before %s got them",
                    self._path,
                    lost,
                    name,
                )
        self._db.execute("DELETE FROM events WHERE position <= ?", (last,))
        return freed

    def _write_positions(self) -> None:
        """Note where the sinks stand, and erase what all of them have."""
        try:
            with writing(self._db):
                for name, position in self._positions.items():
                    self._db.execute(
                        "UPDATE sinks SET position = ?, delivered = delivered + ? WHERE name = ?",
                        (position, self._unwritten[name], name),
                    )
                done = min(self._positions.values())
                freed = self._db.execute(
                    "SELECT coalesce(sum(length(body)), 0) FROM events WHERE position <= ?", (done,)
                ).fetchone()[0]
                self._db.execute("DELETE FROM events WHERE position <= ?", (done,))
        except sqlite3.Error as error:
            _log.warning("%s cannot note what was delivered, will try again: %s", self._path, error)
            return
        self._num_bytes -= freed
        self._unwritten = dict.fromkeys(self._unwritten, 0)
