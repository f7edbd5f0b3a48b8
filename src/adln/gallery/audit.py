"""The audit log: who searched, merged and erased, in rows that cannot be changed undetected.

Each row contains a digest of itself and of the previous row. Changing or removing a row breaks all
later digests. Only truncation leaves no break; it is detected by comparing the newest digest with a
copy stored elsewhere. The log never contains names of people or embeddings, so it need not be
changed when a person is forgotten.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

SCHEMA = """
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    time_s REAL NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    details TEXT NOT NULL,            -- JSON, without names
    digest TEXT NOT NULL
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""
_START = "0" * 64


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One entry of the log.

    Attributes:
        number: from 1, without gaps.
        time_s: time, in seconds since 1970.
        actor: who did it, as set by the program that opened the gallery.
        action: "search", "merge", "forget", ...
        details: further numbers.
        digest: SHA-256 of this row and the previous digest, in hex.
    """

    number: int
    time_s: float
    actor: str
    action: str
    details: dict[str, Any]
    digest: str


@dataclass(frozen=True, kw_only=True)
class AuditCheck:
    """Result of a check of the log.

    Attributes:
        entries: number of rows checked.
        first_broken: number of the first row that was changed or follows a removed one; None if
            there is none.
        newest_digest: digest of the last row; store it elsewhere and pass it to the next check.
        holds_expected: whether the expected digest is among the rows; None if none was given.
    """

    entries: int
    first_broken: int | None
    newest_digest: str
    holds_expected: bool | None

    @property
    def is_sound(self) -> bool:
        """Whether no change or removal was detected."""
        return self.first_broken is None and self.holds_expected is not False


class AuditLog:
    """The log in one database; writes belong to the caller's open transaction.

    Args:
        connection: to a database with the tables of `SCHEMA`.
        actor: who performs the actions.
        clock: seconds since 1970.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, actor: str, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._actor = actor
        self._clock = clock

    def record(self, action: str, details: Mapping[str, Any]) -> None:
        """Append one row."""
        row = self._connection.execute(
            "SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1"
        ).fetchone()
        number, before = (0, _START) if row is None else row
        text = json.dumps(details, sort_keys=True)
        facts = (number + 1, float(self._clock()), self._actor, action, text)
        self._connection.execute(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", (*facts, _digest(before, facts))
        )

    def entries(self, *, action: str | None = None) -> Iterator[AuditEntry]:
        """All rows, or those of one action, oldest first."""
        return self._read("WHERE ?1 IS NULL OR action = ?1 ORDER BY number", action)

    def newest(self, count: int) -> list[AuditEntry]:
        """The newest rows, newest first."""
        return list(self._read("ORDER BY number DESC LIMIT ?", count))

    def _read(self, which: str, value: str | int | None) -> Iterator[AuditEntry]:
        names = [one.name for one in fields(AuditEntry)]
        for row in self._connection.execute(f"SELECT * FROM audit {which}", (value,)):
            values = dict(zip(names, row, strict=True))
            yield AuditEntry(**{**values, "details": json.loads(values["details"])})

    def check(self, *, expected_digest: str | None = None) -> AuditCheck:
        """Recompute all digests.

        Args:
            expected_digest: `newest_digest` of an earlier check, which must still be in the log.
        """
        before, count, broken, found = _START, 0, None, False
        for row in self._connection.execute("SELECT * FROM audit ORDER BY number"):
            facts, digest = row[:5], row[5]
            count += 1
            if broken is None and (row[0] != count or _digest(before, facts) != digest):
                broken = row[0]
            found |= digest == expected_digest
            before = digest
        return AuditCheck(
            entries=count,
            first_broken=broken,
            newest_digest=before,
            holds_expected=None if expected_digest is None else found,
        )


def _digest(before: str, facts: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps([before, *facts]).encode()).hexdigest()
