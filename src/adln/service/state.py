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
from dataclasses import dataclass, fields
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
TOKENS_FILE = "first-tokens.txt"
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
# Earlier versions ignore these tables.
_ADDED_LATER = (
    "dismissed (what TEXT PRIMARY KEY)",
    "silenced (person_id INTEGER PRIMARY KEY)",
    "looks (token_id TEXT PRIMARY KEY, since_s REAL NOT NULL, last_s REAL NOT NULL, "
    "since_person INTEGER NOT NULL, last_person INTEGER NOT NULL)",
)
_TOKEN = re.compile(r"adln_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
TOKEN_NAME = r"[A-Za-z0-9 ._@-]{1,64}"
_WAIT_S = 10.0
_DIGEST_BYTES = 32
_SAME_LOOK_S = 1800.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token without its secret.

    Attributes:
        token_id: its first part, which identifies it in lists and in the log.
        name: of its user.
        created_s: in seconds since 1970.
        revoked_s: in seconds since 1970; None if it is valid.
    """

    token_id: str
    name: str
    role: Role
    created_s: float
    revoked_s: float | None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The caller of a request; `token_id` is "" if no token is required."""

    name: str
    role: Role
    token_id: str = ""

    def may(self, role: Role) -> bool:
        """Whether they have the rights of a role."""
        return ROLES.index(self.role) >= ROLES.index(role)


class ServiceState:
    """Tokens and the audit log, in a folder. May be used by several threads and processes.

    The folder is created if it does not exist; `clock` returns seconds since 1970.

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
            self._prepare()
            # A second connection: tokens are looked up while something is being written.
            self._reader = _connect(path)
            self._file = path.stat()
        except (OSError, sqlite3.Error) as error:
            raise ServiceError(
                f"{path}: cannot open tokens and audit log ({error}). Make the folder writable, or "
                "set another one with `state`."
            ) from error

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in (_SCHEMA + audit.SCHEMA).split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        for table in _ADDED_LATER:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        connection.execute("COMMIT")
        if version not in (0, _FORMAT):
            connection.close()
            raise ServiceError(f"{self._path} has format {version}; this version of adln reads 1.")

    def create_token(self, name: str, role: Role, *, actor: str = "command line") -> str:
        """Create a token; it is not stored and cannot be shown again.

        Raises:
            ServiceError: the name does not match `TOKEN_NAME`.
        """
        if not re.fullmatch(TOKEN_NAME, name):
            raise ServiceError(
                f"{name!r} cannot be the name of a token; it must match {TOKEN_NAME}."
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
        columns = [one.name for one in fields(Token)]
        rows = self._read(f"SELECT {', '.join(columns)} FROM tokens ORDER BY created_s")
        return [Token(**dict(zip(columns, row, strict=True))) for row in rows]

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
        is_quick = len(digest) == _DIGEST_BYTES
        expected = _digest(secret, salt) if is_quick else _slow_digest(secret, salt)
        if not hmac.compare_digest(expected, digest):
            return None
        if not is_quick:
            self._make_quick(token_id, _digest(secret, salt), salt)
        return Caller(name=f"{name} ({token_id})", role=role, token_id=token_id)

    def is_slow(self, token: str) -> bool:
        """Whether checking it is slow: its digest is of an earlier version and not yet replaced."""
        found = self._row(token)
        return found is not None and len(found[-1]) != _DIGEST_BYTES

    def is_valid(self, token_id: str) -> bool:
        """Whether a token that was valid has not been revoked."""
        valid = "SELECT 1 FROM tokens WHERE token_id = ? AND revoked_s IS NULL"
        return self._is_in_place() and bool(self._read(valid, token_id))

    def _read(self, query: str, *values: str) -> list[Any]:
        with self._reader_lock:
            return self._reader.execute(query, values).fetchall()

    def _row(self, token: str) -> tuple[str, str, str, Role, bytes, bytes] | None:
        match = _TOKEN.fullmatch(token)
        # Of a file that was replaced, nobody could revoke a token any more.
        if match is None or not self._is_in_place():
            return None
        rows = self._read(
            "SELECT name, role, salt, digest FROM tokens WHERE token_id = ? AND revoked_s IS NULL",
            match[1],
        )
        return (match[1], match[2], *rows[0]) if rows else None

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

        The details contain no names of people. If not `synced`, as for read-only actions, a power
        cut may lose it.

        Raises:
            ServiceError: it cannot be written.
        """
        with self._writing(actor, action, details, synced=synced):
            pass

    def dismiss(self, actor: str, key: str, *, take_back: bool = False) -> None:
        """Ignore the review item with a key or, with `take_back`, list it again.

        Raises:
            ServiceError: it cannot be written.
        """
        with self._writing(actor, "ask again" if take_back else "ignore", {"what": key}):
            self._mark("dismissed", "what", key, take_back=take_back)

    def dismissed(self) -> frozenset[str]:
        """Keys of all ignored review items."""
        return frozenset(key for (key,) in self._read("SELECT what FROM dismissed"))

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
        return frozenset(person_id for (person_id,) in self._read("SELECT person_id FROM silenced"))

    def _mark(self, table: str, column: str, value: str | int, *, take_back: bool) -> None:
        remove, add = f"DELETE FROM {table} WHERE {column} = ?", f"INSERT OR IGNORE INTO {table}"
        self._connection.execute(remove if take_back else f"{add} VALUES (?)", (value,))

    def look(
        self, token_id: str, *, newest_person: int, seen: bool = False
    ) -> tuple[float, int] | None:
        """Record a look at the news; returns the end of the previous one, if there was any.

        Also the highest person number at that time; times in seconds since 1970. Looks within half
        an hour count as one, unless everything until now has been `seen`. Looks are not in the
        audit log; the data shown is. `token_id` is "" if no token is required.

        Raises:
            ServiceError: it cannot be written.
        """
        now_s = self._clock()
        before: tuple[float, int] | None
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
        return before

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
                (entry,) = log.newest(1)
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
        _log.info("audit %d %s by %s, digest %s", entry.number, action, actor, entry.digest)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)


def _digest(secret: str, salt: bytes) -> bytes:
    return hmac.digest(salt, secret.encode(), "sha256")


def write_tokens(folder: Path, tokens: Mapping[Role, str]) -> None:
    """Write the first tokens of a service without a terminal to a file for its owner only.

    Raises:
        ServiceError: the file cannot be created, or exists already (and is not changed).
    """
    path = folder / TOKENS_FILE
    text = "".join(f"{role:<9}{token}\n" for role, token in tokens.items())
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "w", encoding="ascii") as stream:  # noqa: PTH123
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ServiceError(
            f"{path}: cannot write the first tokens ({error}). `adln tokens add` makes new ones."
        ) from error


def _slow_digest(secret: str, salt: bytes) -> bytes:
    """Digest used for tokens by earlier versions."""
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1)
