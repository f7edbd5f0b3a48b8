"""The people of a SQLite gallery: their rows, names and barred names, within transactions."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from adln.errors import ForgottenNameError, GalleryError
from adln.gallery.columns import Tally
from adln.gallery.names import checked_name, digests_to_compare, kept_form, name_digest
from adln.gallery.records import Person
from adln.gallery.sums import NAME_SUM_SQL, row_sum

NAMES_MARK = -1
"""Mark in `unwiped`: bytes of a removed name may still be on the disk."""


@dataclass(frozen=True)
class NewName:
    """A new name of a person, with its digests, which are slow to compute.

    Attributes:
        name: as it is stored; None for no name.
        digests: salt -> digests, see `adln.gallery.names.digests_to_compare`.
    """

    name: str | None
    digests: dict[bytes, frozenset[bytes]]


def prepare_name(name: str | None, salts: frozenset[bytes]) -> NewName:
    """Check a name and compute its digests; call it outside of transactions, because it is slow.

    Args:
        name: the new name.
        salts: from `PeopleTable.salts`.

    Raises:
        GalleryError: The name is invalid.
    """
    if name is None:
        return NewName(None, {})
    plain = checked_name(name)
    return NewName(plain, digests_to_compare(plain, salts))


class PeopleTable:
    """The table of people. All methods belong to the caller's open transaction."""

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._connection = connection
        self._place = place

    def salts(self) -> frozenset[bytes]:
        """Salts of all barred names, and of former names if there are any."""
        rows = self._connection.execute(
            "SELECT salt FROM barred_names UNION SELECT name_salt FROM state "
            "WHERE EXISTS (SELECT 1 FROM former_names)"
        )
        return frozenset(salt for (salt,) in rows)

    def all(self, tallies: Mapping[int, Tally]) -> list[Person]:
        """All people, by ascending id.

        Args:
            tallies: tallies of the people who have sightings.
        """
        rows = self._connection.execute(
            f"SELECT person_id, name, name_sum IS {NAME_SUM_SQL} FROM persons ORDER BY 1"
        ).fetchall()
        if not all(row[-1] for row in rows):
            raise self._damaged()
        people = []
        for person_id, name, _ in rows:
            count, first_s, last_s, cameras = tallies.get(person_id, Tally(0))
            people.append(
                Person(
                    person_id=person_id,
                    name=name,
                    num_sightings=count,
                    first_seen_s=first_s,
                    last_seen_s=last_s,
                    cameras=cameras,
                )
            )
        return people

    def require(self, person_ids: Iterable[int | None]) -> None:
        """Check that people exist.

        Raises:
            GalleryError: One does not.
        """
        for person_id in person_ids:
            known = self._connection.execute(
                "SELECT 1 FROM persons WHERE person_id = ?", (person_id,)
            ).fetchone()
            if known is None:
                raise GalleryError(
                    f"{self._place}: there is no person {person_id}; `adln gallery list` shows all "
                    "people, and enrolling makes a new one."
                )

    def name_of(self, person_id: int) -> str | None:
        """Name of an existing person."""
        return self.names([person_id])[person_id]

    def names(self, person_ids: Iterable[int]) -> dict[int, str | None]:
        """Person -> name, of those of these people who exist."""
        found: dict[int, str | None] = {}
        for person_id in person_ids:
            for name, known_sum in self._connection.execute(
                "SELECT name, name_sum FROM persons WHERE person_id = ?", (person_id,)
            ).fetchall():
                if known_sum != row_sum(person_id, name):
                    raise self._damaged()
                found[person_id] = name
        return found

    def called(self, name: str) -> int | None:
        """The person with a name, however it is encoded; None if there is none."""
        kept = kept_form(name)
        row = self._connection.execute(
            "SELECT person_id, name_sum FROM persons WHERE name = ?", (kept,)
        ).fetchone()
        if row is not None and row[1] != row_sum(row[0], kept):
            raise self._damaged()
        return None if row is None else int(row[0])

    def named(self) -> frozenset[int]:
        """All people with a name."""
        rows = self._connection.execute("SELECT person_id FROM persons WHERE name IS NOT NULL")
        return frozenset(person_id for (person_id,) in rows)

    def add(self, new: NewName, *, person_id: int | None = None) -> int:
        """Create a person.

        Args:
            new: their name.
            person_id: an earlier number of theirs; by default a new one.
        """
        self.require_free(new)
        done = self._connection.execute(
            "INSERT INTO persons (person_id, name) VALUES (?, ?)", (person_id, new.name)
        )
        assert done.lastrowid is not None
        self._connection.execute(
            f"UPDATE persons SET name_sum = {NAME_SUM_SQL} WHERE person_id = ?", (done.lastrowid,)
        )
        self._claim(done.lastrowid, new)
        return done.lastrowid

    def rename(self, person_id: int, new: NewName) -> None:
        """Rename a person; the old name is kept as a digest."""
        self.require_free(new, but_for=person_id)
        self.keep_digest(person_id, person_id, but=new.name)
        self._put_name(person_id, new.name)
        self._claim(person_id, new)

    def require_free(self, new: NewName, *, but_for: int | None = None) -> None:
        """Check that a name may be given.

        Raises:
            GalleryError: It is taken, or belonged to a forgotten person.
        """
        if new.name is None:
            return
        taken = self.called(new.name)
        if taken is not None:
            if taken == but_for:
                return
            raise GalleryError(
                f"{self._place}: person {taken} is already called {new.name!r}. Choose another "
                "name, or merge the two if they are the same."
            )
        barred = self._connection.execute("SELECT salt, digest FROM barred_names").fetchall()
        digests = new.digests
        if late := {salt for salt, _ in barred} - digests.keys():
            # Another process has just forgotten someone.
            digests = digests | digests_to_compare(new.name, late)
        if any(digest in digests[salt] for salt, digest in barred):
            raise ForgottenNameError(
                f"{self._place}: {new.name!r} was forgotten on request and must not be enrolled "
                "again. If they have agreed since, enrol them under another name."
            )

    def _claim(self, person_id: int, new: NewName) -> None:
        """Make a name that was given no former name of anybody else.

        They may have had it by mistake; when they are forgotten, it is not barred with theirs.
        """
        others = "FROM former_names WHERE person_id != ?"
        known = self._connection.execute(f"SELECT 1 {others}", (person_id,)).fetchone()
        if new.name is None or known is None:
            return
        salt = self._salt()
        # Another process may just have renamed someone.
        digests = new.digests if salt in new.digests else digests_to_compare(new.name, [salt])
        self._connection.executemany(
            f"DELETE {others} AND digest = ?", [(person_id, digest) for digest in digests[salt]]
        )

    def keep_digest(self, of: int, to: int, *, but: str | None = None) -> None:
        """Store one person's current name as a former name of another.

        Args:
            of: the person with the name.
            to: the person whose former name it is.
            but: do nothing if this is the name.
        """
        name = self.name_of(of)
        if name is not None and name != but:
            self._connection.execute(
                "INSERT INTO former_names VALUES (?, ?)", (to, name_digest(name, self._salt()))
            )

    def merge(self, other: int, into: int) -> None:
        """Remove a merged person, whose sightings have been moved."""
        self.keep_digest(other, into)
        self._connection.execute(
            "UPDATE former_names SET person_id = ? WHERE person_id = ?", (into, other)
        )
        self._connection.execute("DELETE FROM persons WHERE person_id = ?", (other,))
        self._connection.execute("INSERT OR REPLACE INTO merged VALUES (?, ?)", (other, into))
        self._mark()

    def take_name(self, person_id: int, name: str | None) -> None:
        """Give a person the name of a removed one."""
        if self.name_of(person_id) != name:
            self._put_name(person_id, name)

    def unmerge(self, person_id: int, new: NewName) -> None:
        """Restore a merged person under their old number.

        Raises:
            GalleryError: They were not merged, or into a person who has been forgotten.
        """
        row = self._connection.execute(
            "SELECT 1 FROM merged WHERE person_id = ?", (person_id,)
        ).fetchone()
        if row is None:
            raise GalleryError(
                f"{self._place}: person {person_id} was not merged into a person who still exists."
            )
        self._connection.execute("DELETE FROM merged WHERE person_id = ?", (person_id,))
        self.add(new, person_id=person_id)

    def take_names(self, source: "PeopleTable", person_ids: Mapping[int, int]) -> None:
        """Take over the barred and former names of a gallery of which this one is a copy.

        Its salt goes along; names that are barred here already stay so.

        Args:
            source: the people there, in an open transaction.
            person_ids: number there -> number here.
        """
        there = source._connection.execute
        barred = there("SELECT salt, digest FROM barred_names").fetchall()
        former = there("SELECT person_id, digest FROM former_names").fetchall()
        self._connection.execute("UPDATE state SET name_salt = ?", (source._salt(),))
        self._connection.executemany("INSERT INTO barred_names VALUES (?, ?)", barred)
        self._connection.executemany(
            "INSERT INTO former_names VALUES (?, ?)",
            [(person_ids[one], digest) for one, digest in former if one in person_ids],
        )

    def merged_into(self, person_id: int) -> frozenset[int]:
        """Numbers of all people merged into this person, directly or indirectly."""
        rows = self._connection.execute(
            "WITH RECURSIVE parts (person_id) AS (SELECT person_id FROM merged WHERE into_id = ? "
            "UNION SELECT merged.person_id FROM merged JOIN parts ON into_id = parts.person_id) "
            "SELECT person_id FROM parts",
            (person_id,),
        )
        return frozenset(number for (number,) in rows)

    def gone(self, person_ids: Collection[int]) -> frozenset[int]:
        """Those of these numbers that neither exist nor were merged into an existing person."""
        return frozenset(
            person_id
            for person_id in person_ids
            if self._connection.execute(
                "WITH RECURSIVE turns_out (person_id) AS (SELECT ? UNION SELECT into_id "
                "FROM merged JOIN turns_out USING (person_id)) "
                "SELECT 1 FROM persons JOIN turns_out USING (person_id)",
                (person_id,),
            ).fetchone()
            is None
        )

    def ever_called(self, person_id: int, names: Iterable[str]) -> frozenset[str]:
        """Those of these names that this person, or one merged into them, has or had.

        A name that somebody else has by now is theirs.
        """
        salt = self._salt()
        digests = self._digests_of(person_id, self.merged_into(person_id), salt)
        return frozenset(
            name
            for name in names
            if self.called(name) in (None, person_id) and name_digest(name, salt) in digests
        )

    def _digests_of(self, person_id: int, merged: Iterable[int], salt: bytes) -> set[bytes]:
        """Digests of all names of a person and of those merged into them."""
        parts = [person_id, *merged]
        marks = ",".join("?" * len(parts))
        digests: set[bytes] = {
            digest
            for (digest,) in self._connection.execute(
                f"SELECT digest FROM former_names WHERE person_id IN ({marks})", parts
            )
        }
        name = self.name_of(person_id)
        if name is not None:
            digests.add(name_digest(name, salt))
        return digests

    def forget(self, person_id: int) -> None:
        """Remove a person permanently, and bar all names of them and of those merged into them."""
        merged, salt = self.merged_into(person_id), self._salt()
        parts = {person_id, *merged}
        marks = ",".join("?" * len(parts))
        digests = self._digests_of(person_id, merged, salt)
        self._connection.executemany(
            "INSERT INTO barred_names VALUES (?, ?)", [(salt, digest) for digest in sorted(digests)]
        )
        for table, column in (
            ("former_names", "person_id"),
            ("merged", "person_id"),
            ("persons", "person_id"),
        ):
            self._connection.execute(
                f"DELETE FROM {table} WHERE {column} IN ({marks})", list(parts)
            )
        self._mark()

    def drop_emptied(self, person_ids: Collection[int]) -> int:
        """Remove people with neither a name nor a sighting; returns their number."""
        empty = {
            number
            for (number,) in self._connection.execute(
                "SELECT person_id FROM persons WHERE name IS NULL AND NOT EXISTS "
                "(SELECT 1 FROM sightings WHERE sightings.person_id = persons.person_id)"
            )
        }
        dropped = sorted(empty.intersection(person_ids))
        for number in dropped:
            for part in {number, *self.merged_into(number)}:
                for table in ("former_names", "merged", "persons"):
                    self._connection.execute(f"DELETE FROM {table} WHERE person_id = ?", (part,))
        if dropped:
            self._mark()
        return len(dropped)

    def _put_name(self, person_id: int, name: str | None) -> None:
        self._connection.execute(
            "UPDATE persons SET name = ?, name_sum = ? WHERE person_id = ?",
            (name, row_sum(person_id, name), person_id),
        )
        self._mark()

    def _mark(self) -> None:
        """Mark that bytes of a name may be left in the log and where SQLite has moved rows."""
        self._connection.execute("INSERT OR IGNORE INTO unwiped VALUES (?)", (NAMES_MARK,))

    def _salt(self) -> bytes:
        salt: bytes = self._connection.execute("SELECT name_salt FROM state").fetchone()[0]
        return salt

    def _damaged(self) -> GalleryError:
        return GalleryError(
            f"{self._place}: the database is damaged (a name is not what was written). Restore the "
            "folder from a copy or from an export."
        )


def rewrite_persons(connection: sqlite3.Connection) -> None:
    """Rewrite the table of people, so that its pages contain no earlier rows.

    SQLite overwrites deleted rows, but not the copies left when it moves rows between pages.
    Emptying a table releases and overwrites all its pages. Needs a write transaction begun with
    foreign keys off, because rows would otherwise be deleted one by one.
    """
    rows = connection.execute("SELECT * FROM persons ORDER BY person_id").fetchall()
    connection.execute("DELETE FROM persons")
    connection.executemany("INSERT INTO persons VALUES (?, ?, ?)", rows)
