"""The gallery's database: one SQLite file whose acknowledged writes are on the disk.

It uses a write-ahead log, synced at every commit; deleted data is overwritten with zeros.
"""

import errno
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from adln.atomic import is_there
from adln.errors import AdlnError, GalleryError
from adln.gallery import schema
from adln.gallery.sums import add_functions

DATABASE_NAME = "gallery.db"
# How long to wait for another process before giving up.
WAIT_S = 30.0
# A database of up to this many bytes is checked completely when it is opened.
_CHECKED_BYTES = 16 * 2**20
# Permission bits for everyone.
_EVERYBODY = stat.S_IRWXO
# Disk space reserved while there is some, so that erasing works on a full disk.
_RESERVE_NAME = "reserve.bin"
_RESERVE_BYTES = 2 * 2**20
_RELEASED_BYTES = 2**19
_WORTH_RESERVING = 4
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# SQLite's index of the log takes 32 KiB, as do the log's first pages.
_TO_OPEN_BYTES = 2**17
# What SQLite makes of Ctrl-C while it calls the functions of `sums`, which do not fail otherwise.
_INTERRUPTED = "user-defined function raised exception"
_NO_TEXT = "Could not decode to UTF-8"


def connect(folder: Path, *, create: bool, mapped: bool, more_schema: str) -> sqlite3.Connection:
    """Open the database of a gallery, or create it.

    Args:
        folder: folder of the gallery.
        create: create folder and database if they do not exist.
        mapped: when creating, whether embeddings are also kept in a mapped file.
        more_schema: tables of other modules to create with it.

    Raises:
        GalleryError: There is no gallery, it is of another version or damaged, or the disk failed.
    """
    require_no_file(folder, raises=GalleryError)
    path = folder / DATABASE_NAME
    if not is_there(path):
        if not create:
            raise GalleryError(
                f"{folder}: there is no gallery here (no {DATABASE_NAME}). Check the folder; "
                "`adln gallery enrol` makes a new one."
            )
        try:
            # Only its owner may read it.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise GalleryError(f"{folder}: cannot be created ({reason}).") from error
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
            _restrict_permissions(folder)
            make_reserve(folder)
        except BaseException:
            connection.close()
            raise
    return connection


def require_no_file(folder: Path, *, raises: type[AdlnError]) -> None:
    """Refuse a file where the folder of a gallery should be.

    Raises:
        AdlnError: of class `raises`: it is a file.
    """
    if is_there(folder):
        raise raises(f"{folder}: is a file; expected the folder of a gallery.")


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
    """On a full disk, release a little of the reserve.

    Opening a gallery needs space for SQLite's files beside it: without this, a gallery on a full
    disk could neither be read nor erased from.

    Returns:
        Whether the disk was full and something was released.
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
    """Open another connection to a gallery's database; the caller closes it."""
    connection = sqlite3.connect(
        # Whoever opens a file that is gone makes no empty one.
        f"file:{quote(os.fsencode((folder / DATABASE_NAME).absolute()))}?mode=rw",
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
        # Temporary tables would otherwise be files with people's data.
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
    """Permissions of new files in a gallery: those of its database, but none for everyone."""
    try:
        return (folder / DATABASE_NAME).stat().st_mode & ~_EVERYBODY & 0o666
    except FileNotFoundError:
        return 0o600


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file beside the database; a new one gets the permissions of the database."""
    permissions = permissions_in(path.parent)

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, permissions)

    file: IO[bytes] = open(path, mode, buffering=0, opener=opener)  # noqa: SIM115
    return file


def make_reserve(folder: Path) -> None:
    """Create a small reserve, if there is plenty of space."""
    with suppress(OSError):
        if shutil.disk_usage(folder).free >= _WORTH_RESERVING * _RESERVE_BYTES:
            fill_reserve(folder)


def fill_reserve(folder: Path) -> bool:
    """Fill the reserve with the available space, up to what erasing may need.

    Returns:
        Whether it is full; also True if it cannot be filled for another reason than lack of space.
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
    """Refuse to store more if that would use the space reserved for erasing.

    Raises:
        FullDiskError: the reserve cannot be filled.
    """
    if not fill_reserve(folder):
        raise FullDiskError(
            f"{folder}: the disk is full: {_RESERVE_BYTES // 2**20} MiB are reserved for erasing "
            "and cannot be filled. Nothing was changed; earlier data is "
            "safe. Free some space, or let `adln gallery retention --apply` erase what is "
            "old."
        )


def release_reserve(folder: Path) -> bool:
    """Release some of the reserve; other programs may take the space.

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
    path = quote(os.fsencode((folder / DATABASE_NAME).absolute()))
    # The first way works if another process has it open, the second on a write-protected disk, the
    # third if a log was left that is not yet in the database.
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
                # The index of the log is then in memory, not in a file.
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
        "writable place and open it there."
    )


def _upgraded_copy(old: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """An in-memory copy in the current format."""
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
        # Several embeddings per page; must be set before anything is written.
        connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    if version == schema.FORMAT and schema.is_ready(connection):
        return
    with writing(connection):
        # Another process may have done it in the meantime.
        version = schema.version_of(connection)
        if version == 0:
            schema.make_tables(connection, mapped=mapped, more_schema=more_schema)
        elif version < schema.FORMAT:
            schema.upgrade(connection, version)
        if not schema.is_ready(connection):
            schema.make_ready(connection)


def _check(connection: sqlite3.Connection) -> None:
    """Check quickly for damage.

    Raises:
        sqlite3.DatabaseError: The database is damaged.
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


def _restrict_permissions(folder: Path) -> None:
    """Remove everyone's permission to read files of earlier versions."""
    for pattern in (f"{DATABASE_NAME}*", "*.bin", "columns.*", "cameras.json"):
        for path in folder.glob(pattern):
            # Of another owner, they are that owner's to close.
            with suppress(OSError):
                mode = path.stat().st_mode
                if mode & _EVERYBODY:
                    path.chmod(stat.S_IMODE(mode) & ~_EVERYBODY)


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """A read transaction: sees one state of the database, whatever others write."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: all or nothing; on the disk when it ends."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def empty_log(connection: sqlite3.Connection, *, wait_s: float = WAIT_S) -> bool:
    """Move everything from the write-ahead log to the database, and truncate the log.

    Args:
        connection: without a transaction.
        wait_s: how long to retry while others read an old state; does not block them.

    Returns:
        Whether it was done.
    """
    until = time.monotonic() + wait_s
    # SQLite itself would wait for readers while holding the lock that all writers need.
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
    """The disk has no space for the operation."""


@contextmanager
def plain_errors(
    folder: Path, *, what_holds: str = "Nothing was changed; everything before it is safe."
) -> Iterator[None]:
    """Turn errors of SQLite and the disk into errors that say what still holds and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        if str(error) == _INTERRUPTED and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt from error
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and _is_full(folder)):
            raise _full(folder, what_holds) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            advice = f"Another process has been writing for more than {WAIT_S:.0f} s; try again."
        elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or _NO_TEXT in str(error):
            advice = "The database is damaged; restore the folder from a copy or from an export."
        elif name.startswith("SQLITE_IOERR"):
            advice = f"The disk failed. {what_holds} Check the disk and its free space."
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
    """Whether the disk lacks space for SQLite's own files, which it reports as an I/O error."""
    try:
        return shutil.disk_usage(folder).free < _TO_OPEN_BYTES
    except OSError:
        return False


def _full(folder: Path, what_holds: str) -> FullDiskError:
    return FullDiskError(
        f"{folder}: the disk is full. {what_holds} Free some space, or let "
        "`adln gallery retention --apply` erase old sightings: space is reserved for that."
    )
