"""People whose surplus sightings are kept for a while, because a change may still be undone."""

import sqlite3
import time

from adln.gallery.schema import rows_if_made

HELD_S = 600.0
"""How long after a merge or an assignment `max_templates` does not apply to a person."""


def hold(connection: sqlite3.Connection, person_id: int | None) -> None:
    """Keep a person's sightings from now on; needs a write transaction. None is nobody."""
    if person_id is None:
        return
    connection.execute(
        "CREATE TABLE IF NOT EXISTS held (person_id INTEGER PRIMARY KEY, content REAL NOT NULL)"
    )
    now_s = time.time()
    connection.execute(
        "DELETE FROM held WHERE content NOT BETWEEN ? AND ?", (now_s - HELD_S, now_s)
    )
    connection.execute("INSERT OR REPLACE INTO held VALUES (?, ?)", (person_id, now_s))


def read_held(connection: sqlite3.Connection) -> frozenset[int]:
    """The people held, in the open transaction."""
    now_s = time.time()
    # A time to come is from a clock that was wrong.
    return frozenset(
        int(person_id)
        for person_id, since_s in rows_if_made(connection, "held", "person_id")
        if now_s - HELD_S <= since_s <= now_s
    )
