"""State of the service itself: tokens (as salted digests) and the audit log.

A token has 256 random bits, which cannot be guessed at any speed. So a plain SHA-256 protects it as
well as a slow digest would, and checking a flood of wrong tokens costs next to nothing.

It is one SQLite file in a folder that only its owner may read. The log is that of
`adln.gallery.audit`: each entry contains a digest of the one before, so altered or removed entries
are detected.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from adln.errors import ServiceError
from adln.gallery import audit
from adln.gallery.audit import AuditCheck, AuditEntry, AuditLog
from adln.gallery.database import is_in_place

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each includes the rights of those before it."""

DATABASE_NAME = "service.db"
_FORMAT = 1
_SCHEMA = """
CREATE TABLE tokens (
    token_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    created_s REAL NOT NULL,
    revoked_s REAL
);
"""
_TOKEN = re.compile(r"adln_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
TOKEN_NAME = r"[A-Za-z0-9 ._@-]{1,64}"
_NAME = re.compile(TOKEN_NAME)
_WAIT_S = 10.0
_DIGEST_BYTES = 32
_SAME_LOOK_S = 1800.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token without its secret.

    Attributes:
        token_id: its first part, which identifies it in lists and in the log.
        name: name of its user.
        role: its role.
        created_s: creation time, in seconds since 1970.
        revoked_s: revocation time, in seconds since 1970; None if it is valid.
    """

    token_id: str
    name: str
    role: Role
    created_s: float
    revoked_s: float | None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The caller of a request.

    Attributes:
        name: for the log.
        role: their role.
        token_id: id of their token; "" if none is required.
    """

    name: str
    role: Role
    token_id: str = ""

    def may(self, role: Role) -> bool:
        """Whether they have the rights of a role."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class LastLook:
    """A user's last look at the news.

    Attributes:
        since_s: when it ended, in seconds since 1970.
        newest_person: highest person number at that time.
    """

    since_s: float
    newest_person: int


class ServiceState:
    """Tokens and the audit log, in a folder. May be used by several threads and processes.

    Args:
        folder: created if it does not exist.
        clock: seconds since 1970.

    Raises:
        ServiceError: the folder cannot be used.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reader_lock = threading.Lock()
        self._path = path = (folder / DATABASE_NAME).absolute()
        self._is_synced = True
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
            # The folder may have existed, or been copied, with other permissions.
            path.chmod(0o600)
            self._connection = _connect(path)
            self._prepare(path)
            # A second connection: tokens are looked up while something is being written.
            self._reader = _connect(path)
            self._file = path.stat()
        except (OSError, sqlite3.Error) as error:
            raise ServiceError(
                f"{path}: cannot open tokens and audit log ({error}). Make the folder writable, or "
                "set another one with `state`."
            ) from error

    def _prepare(self, path: Path) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in (_SCHEMA + audit.SCHEMA).split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        # Added later; older versions ignore these tables.
        connection.execute("CREATE TABLE IF NOT EXISTS dismissed (what TEXT PRIMARY KEY)")
        connection.execute("CREATE TABLE IF NOT EXISTS silenced (person_id INTEGER PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS looks (token_id TEXT PRIMARY KEY, since_s REAL NOT NULL, "
            "last_s REAL NOT NULL, since_person INTEGER NOT NULL, last_person INTEGER NOT NULL)"
        )
        connection.execute("COMMIT")
        if version not in (0, _FORMAT):
            connection.close()
            raise ServiceError(f"{path} has format {version}; this version of adln reads 1.")

    def create_token(self, name: str, role: Role, *, actor: str = "command line") -> str:
        """Create a token.

        Args:
            name: name of its user: letters, digits and " ._@-", at most 64 characters.
            role: its role.
            actor: who creates it, for the log.

        Returns:
            The token. It is not stored and cannot be shown again.

        Raises:
            ServiceError: the name cannot be used.
        """
        if not _NAME.fullmatch(name):
            raise ServiceError(
                f"{name!r} cannot be the name of a token; it must match {_NAME.pattern}."
            )
        token_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        salt = secrets.token_bytes(16)
        with self._writing(actor, "token", {"token": token_id, "role": role}):
            self._connection.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (token_id, name, role, salt, _digest(secret, salt), self._clock()),
            )
        return f"adln_{token_id}_{secret}"

    def create_first_tokens(self) -> dict[Role, str]:
        """One token for each role if there has never been one for an admin; otherwise none."""
        if any(one.role == "admin" for one in self.tokens()):
            return {}
        return {role: self.create_token(role, role) for role in ROLES}

    def tokens(self) -> list[Token]:
        """All tokens, including revoked ones, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT token_id, name, role, created_s, revoked_s FROM tokens ORDER BY created_s"
            ).fetchall()
        return [
            Token(token_id=row[0], name=row[1], role=row[2], created_s=row[3], revoked_s=row[4])
            for row in rows
        ]

    def revoke(self, token_id: str, *, actor: str = "command line") -> None:
        """Revoke a token, immediately and permanently.

        Raises:
            ServiceError: there is no such valid token.
        """
        with self._writing(actor, "revoke", {"token": token_id}):
            changed = self._connection.execute(
                "UPDATE tokens SET revoked_s = ? WHERE token_id = ? AND revoked_s IS NULL",
                (self._clock(), token_id),
            ).rowcount
            if not changed:
                raise ServiceError(f"There is no valid token {token_id!r}; see `adln tokens list`.")
            self._connection.execute("DELETE FROM looks WHERE token_id = ?", (token_id,))

    def caller(self, token: str) -> Caller | None:
        """The caller with this token; None if it is not valid. Fast, unless `is_slow`."""
        found = self._row(token)
        if found is None:
            return None
        token_id, secret, name, role, salt, digest = found
        if len(digest) == _DIGEST_BYTES:
            if not hmac.compare_digest(_digest(secret, salt), digest):
                return None
        else:
            if not hmac.compare_digest(_slow_digest(secret, salt), digest):
                return None
            self._make_quick(token_id, _digest(secret, salt), salt)
        return Caller(name=f"{name} ({token_id})", role=role, token_id=token_id)

    def is_slow(self, token: str) -> bool:
        """Whether checking it is slow: its digest is of an earlier version and not yet replaced."""
        found = self._row(token)
        return found is not None and len(found[-1]) != _DIGEST_BYTES

    def is_valid(self, token_id: str) -> bool:
        """Whether a token that was valid has not been revoked."""
        if not self._is_in_place():
            return False
        with self._reader_lock:
            row = self._reader.execute(
                "SELECT 1 FROM tokens WHERE token_id = ? AND revoked_s IS NULL", (token_id,)
            ).fetchone()
        return row is not None

    def _row(self, token: str) -> tuple[str, str, str, Role, bytes, bytes] | None:
        match = _TOKEN.fullmatch(token)
        # Of a file that was replaced, nobody could revoke a token any more.
        if match is None or not self._is_in_place():
            return None
        token_id, secret = match[1], match[2]
        with self._reader_lock:
            row = self._reader.execute(
                "SELECT name, role, salt, digest FROM tokens "
                "WHERE token_id = ? AND revoked_s IS NULL",
                (token_id,),
            ).fetchone()
        return None if row is None else (token_id, secret, *row)

    def _is_in_place(self) -> bool:
        """Whether tokens and log still are those of the folder; if not, it is told."""
        if is_in_place(self._file, self._path):
            return True
        _log.error("%s was replaced or removed; start the service anew", self._path)
        return False

    def _make_quick(self, token_id: str, digest: bytes, salt: bytes) -> None:
        try:
            with self._lock:
                self._connection.execute(
                    "UPDATE tokens SET digest = ? WHERE token_id = ? AND salt = ?",
                    (digest, token_id, salt),
                )
        except sqlite3.Error as error:
            # It remains valid, but slow.
            _log.warning("cannot replace the slow digest of a token: %s", error)

    def record(
        self, actor: str, action: str, details: Mapping[str, Any], *, synced: bool = True
    ) -> None:
        """Append to the audit log; an action that cannot be logged must not be performed.

        Args:
            actor: who performs it.
            action: what is done.
            details: further numbers; no names of people.
            synced: wait until it is on the disk. False, for read-only actions, may lose it in a
                power cut.

        Raises:
            ServiceError: it cannot be written.
        """
        with self._writing(actor, action, details, synced=synced):
            pass

    def dismiss(self, actor: str, key: str, *, take_back: bool = False) -> None:
        """Ignore a review item, so that it is not listed again.

        Args:
            actor: who ignores it.
            key: its key: kind and numbers, no names of people.
            take_back: list it again instead.

        Raises:
            ServiceError: it cannot be written.
        """
        with self._writing(actor, "ask again" if take_back else "ignore", {"what": key}):
            self._mark("dismissed", "what", key, take_back=take_back)

    def dismissed(self) -> frozenset[str]:
        """Keys of all ignored review items."""
        with self._reader_lock:
            rows = self._reader.execute("SELECT what FROM dismissed").fetchall()
        return frozenset(key for (key,) in rows)

    def _mark(self, table: str, column: str, value: str | int, *, take_back: bool) -> None:
        remove, add = f"DELETE FROM {table} WHERE {column} = ?", f"INSERT OR IGNORE INTO {table}"
        self._connection.execute(remove if take_back else f"{add} VALUES (?)", (value,))

    def silence(self, actor: str, person_id: int, *, take_back: bool = False) -> None:
        """Silence a person or, with `take_back`, stop silencing them.

        Raises:
            ServiceError: it cannot be written.
        """
        action = "tell again" if take_back else "silence"
        with self._writing(actor, action, {"person": person_id}):
            self._mark("silenced", "person_id", person_id, take_back=take_back)

    def silenced(self) -> frozenset[int]:
        """People who are silenced."""
        with self._reader_lock:
            rows = self._reader.execute("SELECT person_id FROM silenced").fetchall()
        return frozenset(person_id for (person_id,) in rows)

    def look(self, token_id: str, *, newest_person: int, seen: bool = False) -> LastLook | None:
        """Record a look at the news, and return the previous one.

        Looks within half an hour count as one. Looks are not in the audit log; the data shown is.

        Args:
            token_id: id of the user's token; "" if none is required.
            newest_person: highest person number now.
            seen: start a new look: everything until now has been seen.

        Returns:
            The look before this one; None if there was none.

        Raises:
            ServiceError: it cannot be written.
        """
        now_s = self._clock()
        with self._lock:
            try:
                row = self._connection.execute(
                    "SELECT since_s, last_s, since_person, last_person FROM looks "
                    "WHERE token_id = ?",
                    (token_id,),
                ).fetchone()
                if seen or row is None:
                    before = (now_s, newest_person) if seen else None
                elif now_s - row[1] > _SAME_LOOK_S:
                    before = row[1], row[3]
                else:
                    before = (row[0], row[2]) if row[0] >= 0 else None
                # Still the first look.
                since_s, since_person = (-1.0, 0) if before is None else before
                self._connection.execute(
                    "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?)",
                    (token_id, since_s, now_s, since_person, newest_person),
                )
            except sqlite3.Error as error:
                raise ServiceError(f"The look at the news cannot be recorded ({error}).") from error
        return None if before is None else LastLook(*before)

    def sync(self) -> None:
        """Flush every entry to the disk, so that it survives a power cut.

        Raises:
            ServiceError: it cannot be written.
        """
        with self._lock:
            if self._is_synced:
                return
            try:
                with self._path.with_name(f"{DATABASE_NAME}-wal").open("rb") as log:
                    os.fsync(log.fileno())
            except OSError as error:
                raise ServiceError(f"The audit log cannot be written ({error}).") from error
            self._is_synced = True

    def entries(self, *, newest: int) -> list[AuditEntry]:
        """The newest entries of the log, newest first."""
        with self._lock:
            return AuditLog(self._connection, actor="", clock=self._clock).newest(newest)

    def check(self, *, expected_digest: str | None = None) -> AuditCheck:
        """Check that the log is unaltered; see `AuditLog.check`."""
        # On its own connection: a long log takes seconds.
        with closing(_connect(self._path)) as connection:
            log = AuditLog(connection, actor="", clock=self._clock)
            return log.check(expected_digest=expected_digest)

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._reader_lock:
            self._reader.close()
            self._connection.close()

    @contextmanager
    def _writing(
        self, actor: str, action: str, details: Mapping[str, Any], *, synced: bool = True
    ) -> Iterator[None]:
        """A transaction that includes its audit log entry."""
        connection = self._connection
        if not self._is_in_place():
            raise ServiceError(f"{self._path} was replaced or removed, so nothing was done.")
        with self._lock:
            try:
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                connection.execute("BEGIN IMMEDIATE")
                yield
                log = AuditLog(connection, actor=actor, clock=self._clock)
                log.record(action, details)
                (number, digest) = connection.execute(
                    "SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1"
                ).fetchone()
                connection.execute("COMMIT")
                self._is_synced = synced
            except sqlite3.Error as error:
                raise ServiceError(
                    f"The audit log cannot be written ({error}), so nothing was done."
                ) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        # Also to the system's journal, which this program cannot change: a truncated or rewritten
        # log no longer contains this digest.
        _log.info("audit %d %s by %s, digest %s", number, action, actor, digest)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)


def _digest(secret: str, salt: bytes) -> bytes:
    return hmac.digest(salt, secret.encode(), "sha256")


def _slow_digest(secret: str, salt: bytes) -> bytes:
    """Digest used for tokens by earlier versions."""
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1)
