"""The gallery's database: one SQLite file whose acknowledged writes are on the disk.

Write-ahead log, synced at every commit; what is deleted is overwritten with zeros.
"""

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adln.errors import GalleryError

DATABASE_NAME = "gallery.db"
FORMAT = 2
# How long to wait for another process before giving up.
WAIT_S = 30.0

_SCHEMA = """
CREATE TABLE state (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    digest TEXT,                      -- of the first model; NULL before the first sighting
    dim INTEGER,
    epoch INTEGER NOT NULL,           -- generation of the code files
    slots INTEGER NOT NULL,           -- slots in use in these files
    synced_id INTEGER NOT NULL,       -- code files were synced to disk up to this sighting
    mapped INTEGER NOT NULL,          -- whether there is a file of embeddings, too
    retention TEXT                    -- JSON
);
CREATE TABLE models (                 -- what made the embeddings, each depth by itself
    model_id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    depth INTEGER NOT NULL,
    space TEXT NOT NULL,              -- '' if unknown
    UNIQUE (digest, depth)
);
CREATE TABLE persons (
    person_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE
);
CREATE TABLE sightings (
    sighting_id INTEGER PRIMARY KEY AUTOINCREMENT,
    slot INTEGER NOT NULL UNIQUE,
    person_id INTEGER REFERENCES persons (person_id),
    camera_id INTEGER NOT NULL,
    time_s REAL NOT NULL,
    depth INTEGER NOT NULL,
    track_id INTEGER,
    box BLOB,                         -- four float64: left, top, right, bottom
    quality REAL NOT NULL,
    model_id INTEGER REFERENCES models (model_id)
);
CREATE INDEX sightings_by_person ON sightings (person_id);
CREATE TABLE embeddings (
    sighting_id INTEGER PRIMARY KEY,
    embedding BLOB NOT NULL           -- float32, little-endian
);
CREATE TABLE thumbnails (
    sighting_id INTEGER PRIMARY KEY,
    jpeg BLOB NOT NULL
);
CREATE TABLE changes (                -- slots whose sighting came, went or changed
    change_id INTEGER PRIMARY KEY AUTOINCREMENT,
    slot INTEGER NOT NULL
);
CREATE TABLE unwiped (                -- slots whose erased codes are still in the files
    slot INTEGER PRIMARY KEY
);
CREATE TABLE barred_names (           -- names of the forgotten, as salted digests
    salt BLOB NOT NULL,
    digest BLOB NOT NULL
);
CREATE TABLE suppressed (             -- templates of the forgotten, only if the operator asked
    person_id INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    above REAL NOT NULL,
    embedding BLOB NOT NULL,
    model_id INTEGER REFERENCES models (model_id)
);
"""
# From format 1, in which all sightings were of the one model in `state`. New columns come last, as
# above; a program of the older version that still has the gallery open is refused from then on.
_FROM_FORMAT_1 = """
CREATE TABLE models (
    model_id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    depth INTEGER NOT NULL,
    space TEXT NOT NULL,
    UNIQUE (digest, depth)
);
INSERT INTO models (digest, depth, space)
    SELECT digest, depth, '' FROM state JOIN (
        SELECT depth FROM sightings UNION SELECT depth FROM suppressed
        -- A gallery that was emptied is its model's still.
        UNION SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM sightings)
    ) WHERE digest IS NOT NULL ORDER BY depth;
ALTER TABLE sightings ADD COLUMN model_id INTEGER REFERENCES models (model_id);
UPDATE sightings SET model_id = (SELECT model_id FROM models WHERE depth = sightings.depth);
ALTER TABLE suppressed ADD COLUMN model_id INTEGER REFERENCES models (model_id);
UPDATE suppressed SET model_id = (SELECT model_id FROM models WHERE depth = suppressed.depth)
"""
# Spaces of the files that came with adln before files told them: their galleries go on.
_SPACES_OF_OLD = {
    "9deb003e0cb4164d64dd643cd2c391f75e8353d601a1e8d6a4b09b5265ded317": "b039df58b34998de",
    "e96a55817f2a4923dd2c520e82b3c7f86eab98f0b5c7c096b3a243ef332c565c": "d290aa33c9733173",
}


def connect(folder: Path, *, create: bool, mapped: bool, more_schema: str) -> sqlite3.Connection:
    """Open the database of a gallery, and make it if wanted.

    Args:
        folder: of the gallery.
        create: make folder and database if they are missing.
        mapped: if it is made, whether embeddings are kept in a mapped file, too.
        more_schema: tables of other modules, made with it.

    Raises:
        GalleryError: There is no gallery, it is of another version, or the disk refuses.
    """
    path = folder / DATABASE_NAME
    if not path.exists():
        if not create:
            raise GalleryError(
                f"{folder}: there is no gallery here (no {DATABASE_NAME}). Check the folder; "
                "`adln gallery enrol` makes a new one."
            )
        try:
            # Only its owner may look at who was seen.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryError(f"{folder}: cannot be made ({error.strerror}).") from error
    with plain_errors(folder):
        connection = sqlite3.connect(
            path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, mapped=mapped, more_schema=more_schema)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, *, mapped: bool, more_schema: str) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= FORMAT:
        raise GalleryError(
            f"This gallery has format {version}, this version of adln reads up to {FORMAT}. "
            "Export it to Parquet with the version that wrote it, and import that."
        )
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Temporary tables would be files beside the gallery, with people's data.
    connection.execute("PRAGMA temp_store = MEMORY")
    if version == 0:
        # Several embeddings to a page; set before anything is written.
        connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    if version == 0:
        with writing(connection):
            # Another process may have been faster.
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in (_SCHEMA + more_schema).split(";\n"):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO state VALUES (1, NULL, NULL, 1, 0, 0, ?, NULL)", (int(mapped),)
                )
                connection.execute(f"PRAGMA user_version = {FORMAT}")
    elif version < FORMAT:
        with writing(connection):
            if connection.execute("PRAGMA user_version").fetchone()[0] == version:
                for statement in _FROM_FORMAT_1.split(";\n"):
                    connection.execute(statement)
                connection.executemany(
                    "UPDATE models SET space = ? WHERE digest = ?",
                    [(space, digest) for digest, space in _SPACES_OF_OLD.items()],
                )
                connection.execute(f"PRAGMA user_version = {FORMAT}")


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """See one state of the database, whatever others write meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all that is done inside, or nothing; on the disk when it ends."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def empty_log(connection: sqlite3.Connection) -> None:
    """Move everything from the write-ahead log to the database, and cut the log to nothing.

    Raises:
        GalleryError: Other processes keep reading an old state for longer than `WAIT_S`.
    """
    until = time.monotonic() + WAIT_S
    while True:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if not busy:
            return
        if time.monotonic() > until:
            raise GalleryError(
                "The erasure is done and stays done, but bytes of it are still in the log file, "
                "because another process has been reading for too long. Stop it, then open the "
                "gallery once: that finishes the work."
            )
        time.sleep(0.01)


@contextmanager
def plain_errors(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the disk into errors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            raise _full(folder) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            advice = f"Another process has been writing for more than {WAIT_S:.0f} s; try again."
        elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            advice = "The database is damaged; restore the folder from a copy or from an export."
        elif name.startswith("SQLITE_IOERR"):
            advice = (
                "The disk refused. Nothing of this was stored, everything before it is safe; "
                "check the disk and its free space."
            )
        elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            advice = "Check that the folder exists and may be written to."
        else:
            advice = "Nothing was changed; check disk and permissions."
        raise GalleryError(f"{folder}: {text}. {advice}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(folder) from error
        raise GalleryError(f"{folder}: {error.strerror or error}. Nothing was changed.") from error


def _full(folder: Path) -> GalleryError:
    return GalleryError(
        f"{folder}: the disk is full. Nothing of this was stored, everything before it is safe. "
        "Free some space, or let `adln gallery retention` erase what is old."
    )
