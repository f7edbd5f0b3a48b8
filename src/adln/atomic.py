"""Files: looked at before the work, written whole or not at all, and where a user keeps them."""

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from adln.errors import AdlnError


def require_writable(path: Path, *, raises: type[AdlnError], folder: bool = False) -> None:
    """Tell before the work whether a file or folder can be written after it.

    Nothing is left behind: a file without a name is made in the folder, or in the nearest one above
    it that exists, and vanishes.

    Raises:
        AdlnError: of the class `raises`: it cannot be written.
    """
    place = path if folder else path.parent
    try:
        if not folder:
            _require_replaceable(path, raises)
            place = _followed(path).parent
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise NotADirectoryError(20, f"{place} is not a folder")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise raises(
            f"{path}: cannot be written ({error.strerror or error}). Choose another place, or make "
            f"{place} writable."
        ) from error


def _followed(path: Path) -> Path:
    """The file that a link leads to: a link stays one, be it /dev/stdout."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _require_replaceable(path: Path, raises: type[AdlnError]) -> None:
    """Refuse what a file cannot take the place of: for root, even /dev/null can be replaced."""
    if path.is_dir():
        raise raises(f"{path}: is a folder; expected the name of a file to write.")
    if path.exists() and not path.is_file():
        raise raises(f"{path}: is a pipe or a device; expected the name of a file to write.")


def require_regular(path: Path, *, raises: type[AdlnError], expected: str) -> None:
    """Refuse what is no file on a disk: reading a pipe or a device might never end.

    A missing file is not refused here, so that the reader can say what it misses.

    Raises:
        AdlnError: of the class `raises`: it is none; the message says what was `expected`.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    except ValueError as error:
        raise raises(f"{str(path)!r} is no path ({error}); expected {expected}.") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise raises(f"{path}: cannot be read, it is {kind}; expected {expected}.")


def file_sha256(path: Path, *, raises: type[AdlnError], expected: str) -> str:
    """The hex digest of a file.

    Raises:
        AdlnError: of the class `raises`: it is missing, cannot be read, or is no file on a disk;
            the message says what was `expected`.
    """
    require_regular(path, raises=raises, expected=expected)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise raises(
            f"{path}: cannot be opened ({error.strerror or error}); expected {expected}."
        ) from error


def user_folder(kind: Literal["cache", "config"]) -> Path:
    """Where a user's settings, or what can be fetched again, are kept; it need not exist.

    Source: XDG base directory specification, by which a relative path in a variable is ignored.
    Whose home is not known, such as a number without a name in a container, has the root folder, as
    container runtimes set it.
    """
    given = os.environ.get(f"XDG_{kind.upper()}_HOME", "")
    if given.startswith("/"):
        return Path(given) / "adln"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path("/")
    return home / f".{kind}" / "adln"


def is_there(path: Path) -> bool:
    """Whether a file can be found; what lies in a folder that this user may not look into is not.

    `Path.exists` raises there, and $HOME is somebody else's folder wherever a program changes its
    user and keeps the variables.
    """
    try:
        return path.is_file()
    except OSError:
        return False


def suffix_of(path: Path) -> str:
    """The suffix of a file name in lower case, as suffixes are compared: ".xml" of NET.XML."""
    return path.suffix.lower()


def beside(path: Path, suffix: str) -> Path:
    """The file beside one with another suffix (".bin"), in capitals if it is there only so."""
    usual, capitals = path.with_suffix(suffix), path.with_suffix(suffix.upper())
    return capitals if is_there(capitals) and not is_there(usual) else usual


@contextmanager
def atomic_write(
    path: Path,
    *,
    raises: type[AdlnError],
    instead: str = "choose another folder",
    mode: int | None = None,
) -> Iterator[BinaryIO]:
    """Write a file; whoever looks at the path finds the old file or the whole new one.

    Args:
        path: of the file; folders above it that are missing are made.
        raises: what is raised if the disk refuses.
        instead: what else than free space would help, for the message.
        mode: who may read and write it, such as 0o600, from its first byte on; as with any new file
            if left out.

    Yields:
        Where the content goes; its name is a path, for those who write by one.
    """
    partial: Path | None = None
    try:
        # First: the link of a pipe that is an output of this process leads to no path.
        _require_replaceable(path, raises)
        path = _followed(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        partial, handle = _open_partial(path, mode)
        with open(partial, "wb", opener=lambda *_: handle) as file:
            yield file
            # The bytes reach the disk before the name does.
            file.flush()
            os.fsync(file.fileno())
            # Renamed while it is held: nobody takes it for a leftover in between.
            partial.replace(path)
    except OSError as error:
        raise raises(_not_written(path, error, instead)) from error
    finally:
        # Gone by now if all went well; else whatever ended it must leave nothing behind.
        if partial is not None:
            with suppress(OSError):
                partial.unlink()


@contextmanager
def atomic_folder(path: Path, *, raises: type[AdlnError]) -> Iterator[Path]:
    """Fill a folder; whoever looks at the path finds the whole new one, or what was there before.

    A folder that is there is replaced, and folders above it are made. An error of the class
    `raises` says that the disk refuses.
    """
    with folder_beside(path, raises=raises) as around:
        partial = around / path.name
        partial.mkdir()
        yield partial
        before = _before(around, path)
        try:
            if path.is_dir() and not path.is_symlink():
                path.rename(before)
            partial.replace(path)
        except BaseException:
            if before.exists() and not path.exists():
                before.rename(path)
            raise


@contextmanager
def folder_beside(path: Path, *, raises: type[AdlnError]) -> Iterator[Path]:
    """A new folder beside a path that files can be renamed to; it is removed in the end.

    Folders above it that are missing are made, and what writers of the path left that were killed
    is removed. An error of the class `raises` says that the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path, folder=True)
        with (
            tempfile.TemporaryDirectory(
                prefix=f".{path.name}.", suffix=".partial", dir=path.parent
            ) as around,
            locked(Path(around)),
        ):
            yield Path(around)
    except OSError as error:
        raise raises(_not_written(path, error, "choose another folder")) from error


def _before(around: Path, path: Path) -> Path:
    """Where the old folder is while the new one gets its name."""
    return around / f"{path.name}.before"


def _not_written(path: Path, error: OSError, instead: str) -> str:
    # Space helps against none of these.
    others = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR)
    advice = f"{'' if error.errno in others else 'free some space or '}{instead}"
    return (
        f"{path}: cannot be written ({error.strerror or error}). {advice[0].upper()}{advice[1:]}; "
        "what was there before is untouched."
    )


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Let nobody else, thread or process, be in here with the same folder meanwhile.

    For files that are read, changed and written. No file is made for it. A disk of another machine
    may know no such lock; then it is done without. Whoever is in already must not enter again.

    Raises:
        BlockingIOError: somebody is in, and is not to be waited for.
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def _open_partial(path: Path, mode: int | None) -> tuple[Path, int]:
    """Make the file to write, of this writer alone, and hold it until it is closed."""
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        handle = os.open(partial, flags, 0o666 if mode is None else 0o600)
        try:
            if mode is not None:
                os.fchmod(handle, mode)
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Taken for a leftover by another writer, before it was held?
            if os.fstat(handle).st_nlink > 0:
                return partial, handle
        except BaseException:
            os.close(handle)
            partial.unlink(missing_ok=True)
            raise
        os.close(handle)


def _remove_leftovers(path: Path, *, folder: bool = False) -> None:
    """Remove what writers left that were killed; they may be large, or nobody else's business."""
    # As earlier versions called it.
    earlier = path.with_name(f".{path.name}.partial")
    if folder:
        shutil.rmtree(earlier, ignore_errors=True)
    else:
        earlier.unlink(missing_ok=True)
    for partial in path.parent.glob(f".{glob.escape(path.name)}.????????.partial"):
        with suppress(OSError):
            handle = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # Refused while its writer holds it.
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder:
                    before = _before(partial, path)
                    # Killed when the old folder had lost its name and the new one had none yet.
                    if before.is_dir() and not path.exists():
                        before.rename(path)
                    shutil.rmtree(partial)
                else:
                    partial.unlink()
            finally:
                os.close(handle)
