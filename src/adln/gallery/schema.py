"""The tables of a gallery's database, and upgrades from earlier versions."""

import sqlite3
from typing import Any

from adln.errors import GalleryError
from adln.gallery.names import kept_form
from adln.gallery.sums import NAME_SUM_SQL, ROW_SUM_SQL, row_sum

FORMAT = 3
"""Version of the database format, stored as `PRAGMA user_version`."""

SCHEMA = """
CREATE TABLE state (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    digest TEXT,                      -- of the first model; NULL before the first sighting
    dim INTEGER,
    epoch INTEGER NOT NULL,           -- generation of the code files
    slots INTEGER NOT NULL,           -- slots in use in these files
    synced_id INTEGER NOT NULL,       -- no longer used
    mapped INTEGER NOT NULL,          -- whether there is a file of embeddings, too
    retention TEXT,                   -- JSON
    name_salt BLOB                    -- of the digests of names
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
    name TEXT UNIQUE,
    name_sum INTEGER                  -- of both, see adln.gallery.sums
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
    model_id INTEGER REFERENCES models (model_id),
    embedding_sum INTEGER,            -- see adln.gallery.sums
    code_sum INTEGER,
    jpeg_sum INTEGER,                 -- NULL if there is no picture
    row_sum INTEGER
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
    slot INTEGER PRIMARY KEY          -- -1: bytes of a name are, in the log or a free place
);
CREATE TABLE barred_names (           -- names of the forgotten, as salted digests
    salt BLOB NOT NULL,               -- of the gallery; each had its own in earlier versions
    digest BLOB NOT NULL
);
CREATE TABLE former_names (           -- what people were called before, as such digests
    person_id INTEGER NOT NULL,
    digest BLOB NOT NULL
);
CREATE TABLE merged (                 -- people who turned out to be others
    person_id INTEGER PRIMARY KEY,
    into_id INTEGER NOT NULL
);
CREATE INDEX merged_by_into ON merged (into_id);
CREATE TABLE suppressed (             -- templates of the forgotten, only if the operator asked
    person_id INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    above REAL NOT NULL,
    embedding BLOB NOT NULL,
    model_id INTEGER REFERENCES models (model_id)
);
"""
# From format 1, in which all sightings were of the one model in `state`. New columns come last, as
# above; an older program that still has the gallery open is refused from then on.
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
# From format 2, which had no checksums. Codes have none yet: the first search rewrites them.
_FROM_FORMAT_2 = f"""
ALTER TABLE state ADD COLUMN name_salt BLOB;
UPDATE state SET name_salt = randomblob(16);
ALTER TABLE persons ADD COLUMN name_sum INTEGER;
UPDATE persons SET name_sum = {NAME_SUM_SQL};
ALTER TABLE sightings ADD COLUMN embedding_sum INTEGER;
ALTER TABLE sightings ADD COLUMN code_sum INTEGER;
ALTER TABLE sightings ADD COLUMN jpeg_sum INTEGER;
ALTER TABLE sightings ADD COLUMN row_sum INTEGER;
UPDATE sightings SET
    embedding_sum = (SELECT adln_blob_sum(embedding) FROM embeddings AS stored
        WHERE stored.sighting_id = sightings.sighting_id),
    jpeg_sum = (SELECT adln_blob_sum(jpeg) FROM thumbnails AS stored
        WHERE stored.sighting_id = sightings.sighting_id);
UPDATE sightings SET row_sum = {ROW_SUM_SQL};
CREATE TABLE former_names (
    person_id INTEGER NOT NULL,
    digest BLOB NOT NULL
);
CREATE TABLE merged (
    person_id INTEGER PRIMARY KEY,
    into_id INTEGER NOT NULL
);
INSERT OR IGNORE INTO unwiped VALUES (-1)
"""
# Spaces of network files that came with adln before files contained them, for existing galleries.
_SPACES_OF_OLD = {
    "9deb003e0cb4164d64dd643cd2c391f75e8353d601a1e8d6a4b09b5265ded317": "b039df58b34998de",
    "e96a55817f2a4923dd2c520e82b3c7f86eab98f0b5c7c096b3a243ef332c565c": "d290aa33c9733173",
}


def version_of(connection: sqlite3.Connection) -> int:
    """The format of a database; 0 if it is empty.

    Raises:
        GalleryError: It is of a later version.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= FORMAT:
        raise GalleryError(
            f"This gallery has format {version}, this version of adln reads up to {FORMAT}. "
            "Export it to Parquet with the version that wrote it, then import that file."
        )
    return version


def make_tables(connection: sqlite3.Connection, *, mapped: bool, more_schema: str) -> None:
    """Create all tables; needs a write transaction."""
    for statement in (SCHEMA + more_schema).split(";\n"):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO state VALUES (1, NULL, NULL, 1, 0, 0, ?, NULL, randomblob(16))",
        (int(mapped),),
    )
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Upgrade a database to the current format; needs a write transaction."""
    if version < 2:
        for statement in _FROM_FORMAT_1.split(";\n"):
            connection.execute(statement)
        connection.executemany(
            "UPDATE models SET space = ? WHERE digest = ?",
            [(space, digest) for digest, space in _SPACES_OF_OLD.items()],
        )
    for statement in _FROM_FORMAT_2.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def is_ready(connection: sqlite3.Connection) -> bool:
    """Whether `make_ready` has been done, or the database was made so."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'merged_by_into'")
    return found.fetchone() is not None


def make_ready(connection: sqlite3.Connection) -> None:
    """Make what is looked up by a column quick to find; needs a write transaction.

    The index of merged people, and names as they are kept now: a name is looked up as a whole. One
    that would then be somebody else's stays as it is. Programs of the same format need neither.
    """
    connection.execute("CREATE INDEX merged_by_into ON merged (into_id)")
    rows = connection.execute("SELECT person_id, name, name_sum FROM persons WHERE name > ''")
    for person_id, name, known_sum in rows.fetchall():
        kept = kept_form(name)
        if kept not in ("", name) and known_sum == row_sum(person_id, name):
            connection.execute(
                "UPDATE OR IGNORE persons SET name = ?, name_sum = ? WHERE person_id = ?",
                (kept, row_sum(person_id, kept), person_id),
            )
            # Bytes of the name as it was are still on the disk.
            connection.execute("INSERT OR IGNORE INTO unwiped VALUES (-1)")


def rows_if_made(connection: sqlite3.Connection, table: str, key: str) -> list[tuple[str, Any]]:
    """Keys and contents of a table that is created on first use; empty if it does not exist."""
    (is_made,) = connection.execute(
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchone()
    return connection.execute(f"SELECT {key}, content FROM {table}").fetchall() if is_made else []
