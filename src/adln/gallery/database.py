"""The gallery's database: one SQLite file whose acknowledged writes are on the disk.

Write-ahead log, synced at every commit; what is deleted is overwritten with zeros.
"""

import errno
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from adln.errors import GalleryError
from adln.gallery import schema
from adln.gallery.sums import add_functions

DATABASE_NAME = "gallery.db"
# How long to wait for another process before giving up.
WAIT_S = 30.0
# A database of up to this many bytes is checked from end to end when it is opened.
_CHECKED_BYTES = 16 * 2**20
# Bits of files that let everybody in.
_EVERYBODY = stat.S_IRWXO
# Set aside while there is room, so that a full disk does not keep what is old from being erased.
_RESERVE_NAME = "reserve.bin"
_RESERVE_BYTES = 2 * 2**20
_RELEASED_BYTES = 2**19
_WORTH_RESERVING = 4
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# SQLite's index of the log takes 32 KiB, the log's first pages the same.
_TO_OPEN_BYTES = 2**17


def connect(folder: Path, *, create: bool, mapped: bool, more_schema: str) -> sqlite3.Connection:
    """Open the database of a gallery, and make it if wanted.

    Args:
        folder: of the gallery.
        create: make folder and database if they are missing.
        mapped: if it is made, whether embeddings are kept in a mapped file, too.
        more_schema: tables of other modules, made with it.

    Raises:
        GalleryError: There is no gallery, it is of another version, damaged, or the disk refuses.
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
            path.touch(mode=0o600)
        except OSError as error:
            raise GalleryError(f"{folder}: cannot be made ({error.strerror}).") from error
    with plain_errors(folder):
        if is_read_only(folder):
            return _open_read_only(folder)
        try:
            connection = _open_prepared(folder, mapped=mapped, more_schema=more_schema)
        except sqlite3.OperationalError:
            if not _make_room_to_open(folder):
                raise
            connection = _open_prepared(folder, mapped=mapped, more_schema=more_schema)
        try:
            _keep_everybody_out(folder)
            make_reserve(folder)
        except BaseException:
            connection.close()
            raise
    return connection


def _open_prepared(folder: Path, *, mapped: bool, more_schema: str) -> sqlite3.Connection:
    connection = open_again(folder)
    try:
        _prepare(connection, mapped=mapped, more_schema=more_schema)
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_room_to_open(folder: Path) -> bool:
    """On a full disk, give back a little of what was set aside.

    To open a gallery takes room for SQLite's files beside it: without this, a full disk could
    neither be looked at nor freed by erasing.

    Returns:
        Whether it was the disk, and there was something to give back.
    """
    path = folder / _RESERVE_NAME
    try:
        if shutil.disk_usage(folder).free >= _TO_OPEN_BYTES:
            return False
        size = path.stat().st_size
        if size == 0:
            return False
        os.truncate(path, max(size - _TO_OPEN_BYTES, 0))
    except OSError:
        return False
    return True


def open_again(folder: Path) -> sqlite3.Connection:
    """One more connection to a gallery's database; the caller closes it."""
    connection = sqlite3.connect(
        # Whoever opens a file that is gone makes no empty one.
        f"file:{quote(str((folder / DATABASE_NAME).absolute()))}?mode=rw",
        uri=True,
        timeout=WAIT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        add_functions(connection)
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Temporary tables would be files beside the gallery, with people's data.
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def is_read_only(folder: Path) -> bool:
    """Whether a gallery is read-only: its disk or its files are write-protected."""
    path = folder / DATABASE_NAME
    return path.exists() and not (os.access(folder, os.W_OK) and os.access(path, os.W_OK))


def is_in_place(opened: os.stat_result, path: Path) -> bool:
    """Whether the file of an open database still is the one at its path.

    SQLite goes on with a file that was replaced or removed, and nobody else sees what it writes.
    """
    try:
        return os.path.samestat(opened, path.stat())
    except OSError:
        return False


def permissions_in(folder: Path) -> int:
    """Those of new files in a gallery: as its database has them, but nothing for everybody."""
    try:
        return (folder / DATABASE_NAME).stat().st_mode & ~_EVERYBODY & 0o666
    except FileNotFoundError:
        return 0o600


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file beside the database; if it is made, with the permissions of the database."""
    permissions = permissions_in(path.parent)

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, permissions)

    file: IO[bytes] = open(path, mode, buffering=0, opener=opener)  # noqa: SIM115
    return file


def make_reserve(folder: Path) -> None:
    """Set a little room aside, if there is plenty."""
    with suppress(OSError):
        if shutil.disk_usage(folder).free >= _WORTH_RESERVING * _RESERVE_BYTES:
            fill_reserve(folder)


def fill_reserve(folder: Path) -> bool:
    """Set aside what room there is, up to what erasing may take.

    Returns:
        Whether that is all it may take; also where something else than room stands in the way.
    """
    path = folder / _RESERVE_NAME
    try:
        missing = _RESERVE_BYTES - (path.stat().st_size if path.exists() else 0)
        if missing > 0:
            with open_private(path, "ab") as file:
                while missing > 0:
                    missing -= file.write(bytes(missing))
    except OSError as error:
        return error.errno not in _NO_ROOM
    return True


def require_reserve(folder: Path) -> None:
    """Refuse to store more where that would take the room for erasing.

    Raises:
        FullDiskError: the room that is set aside cannot be filled up.
    """
    if not fill_reserve(folder):
        raise FullDiskError(
            f"{folder}: the disk is full: {_RESERVE_BYTES // 2**20} MiB are reserved for erasing "
            "and cannot be filled. Nothing was changed; earlier data is "
            "safe. Free some space, or let `adln gallery retention --apply` erase what is "
            "old."
        )


def release_reserve(folder: Path) -> bool:
    """Give back some of the room that was set aside: others on the disk may be waiting for it.

    Returns:
        Whether there was any.
    """
    path = folder / _RESERVE_NAME
    try:
        left = path.stat().st_size - _RELEASED_BYTES
        if left > 0:
            os.truncate(path, left)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _open_read_only(folder: Path) -> sqlite3.Connection:
    path = quote(str((folder / DATABASE_NAME).absolute()))
    # Beside a process that has it open the first way works; on a disk that takes no writes the
    # second, and the third where there is a log that was not moved to the database.
    ways = ["mode=ro", "immutable=1", "mode=ro&vfs=unix-none"]
    log = folder / f"{DATABASE_NAME}-wal"
    if log.exists() and log.stat().st_size > 0:
        ways.remove("immutable=1")
    for options in ways:
        connection = sqlite3.connect(
            f"file:{path}?{options}", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            add_functions(connection)
            if "vfs" in options:
                # The index of the log then lies in memory, not in a file.
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            version = schema.version_of(connection)
            _check(connection)
        except sqlite3.OperationalError:
            connection.close()
            continue
        except BaseException:
            connection.close()
            raise
        if version == schema.FORMAT:
            return connection
        return _upgraded_copy(connection, version)
    raise GalleryError(
        f"{folder}: is not writable, and cannot be read in its present state. Copy the folder to a "
        "writable place, and open it there."
    )


def _upgraded_copy(old: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """A copy in memory, of today's format."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    add_functions(connection)
    old.backup(connection)
    old.close()
    with writing(connection):
        schema.upgrade(connection, version)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _prepare(connection: sqlite3.Connection, *, mapped: bool, more_schema: str) -> None:
    version = schema.version_of(connection)
    if version == 0:
        # Several embeddings to a page; set before anything is written.
        connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    if version == schema.FORMAT:
        return
    with writing(connection):
        # Another process may have been faster.
        version = schema.version_of(connection)
        if version == 0:
            schema.make_tables(connection, mapped=mapped, more_schema=more_schema)
        elif version < schema.FORMAT:
            schema.upgrade(connection, version)


def _check(connection: sqlite3.Connection) -> None:
    """Look for damage, as far as that is quickly done.

    Raises:
        sqlite3.DatabaseError: There is some.
    """
    (pages,), (size,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
    )
    if pages * size > _CHECKED_BYTES:
        return
    (problem,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if problem != "ok":
        error = sqlite3.DatabaseError(problem)
        error.sqlite_errorname = "SQLITE_CORRUPT"
        raise error


def _keep_everybody_out(folder: Path) -> None:
    """Take from files of earlier versions what let everybody read them."""
    for pattern in (f"{DATABASE_NAME}*", "*.bin", "columns.*", "cameras.json"):
        for path in folder.glob(pattern):
            # Of another owner, they are that owner's to close.
            with suppress(OSError):
                mode = path.stat().st_mode
                if mode & _EVERYBODY:
                    path.chmod(stat.S_IMODE(mode) & ~_EVERYBODY)


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


def empty_log(connection: sqlite3.Connection, *, wait_s: float = WAIT_S) -> bool:
    """Move everything from the write-ahead log to the database, and cut the log to nothing.

    Args:
        connection: without a transaction.
        wait_s: how long to try while others read an old state. They are not held up by it.

    Returns:
        Whether it was done.
    """
    until = time.monotonic() + wait_s
    # SQLite would wait for readers with the lock in its hand that all writers need.
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError as error:
                if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                    raise
                busy = True
            if not busy:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.01)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * WAIT_S)}")


class FullDiskError(GalleryError):
    """There is no room for what was to be done."""


@contextmanager
def plain_errors(
    folder: Path, *, what_holds: str = "Nothing was changed; everything before it is safe."
) -> Iterator[None]:
    """Turn errors of SQLite and of the disk into errors that say what holds and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and _is_full(folder)):
            raise _full(folder, what_holds) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            advice = f"Another process has been writing for more than {WAIT_S:.0f} s; try again."
        elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            advice = "The database is damaged; restore the folder from a copy or from an export."
        elif name.startswith("SQLITE_IOERR"):
            advice = f"The disk refused. {what_holds} Check the disk and its free space."
        elif name.startswith("SQLITE_READONLY"):
            advice = "This gallery is read-only: its disk or files cannot be written."
        elif name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM")):
            advice = "Check that the folder exists and is writable."
        else:
            advice = f"{what_holds} Check disk and permissions."
        raise GalleryError(f"{folder}: {error}. {advice}") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _full(folder, what_holds) from error
        raise GalleryError(f"{folder}: {error.strerror or error}. {what_holds}") from error


def _is_full(folder: Path) -> bool:
    """Whether the disk has no room even for SQLite's files, of which SQLite says an I/O error."""
    try:
        return shutil.disk_usage(folder).free < _TO_OPEN_BYTES
    except OSError:
        return False


def _full(folder: Path, what_holds: str) -> FullDiskError:
    return FullDiskError(
        f"{folder}: the disk is full. {what_holds} Free some space, or let "
        "`adln gallery retention --apply` erase what is old: for that, room was set aside."
    )
