"""Camera numbers of a gallery, and how many runs a pipeline has had on it.

The gallery numbers cameras; people name them. The assignment is permanent: settings that contradict
the gallery's folder are refused, because sightings would move to another camera.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from adln.atomic import atomic_write, locked
from adln.errors import CameraNumberTakenError, SettingsError
from adln.gallery.database import permissions_in, require_no_file
from adln.strict import parse_json

FILE_NAME = "cameras.json"
TRACKS_PER_RUN = 10**9
"""Trackers count from 1 at each start: track number = run * this + the tracker's id."""


def enter_cameras(
    folder: Path, cameras: Mapping[str, int], *, last_track: Callable[[], int] = lambda: 0
) -> int:
    """Record the cameras of a run (name -> number) in the gallery's folder, which must exist.

    The highest track number is asked for if no run is recorded, as in a gallery that was restored
    from a backup: its tracks must not get further sightings.

    Returns:
        Number of runs so far, including this one.

    Raises:
        SettingsError: a name or number is used twice or differs from an earlier run, the file is
            damaged, or it cannot be written.
    """
    with _alone(folder) as (known, runs):
        _require_same(folder / FILE_NAME, known, cameras)
        run = 1 + (runs or last_track() // TRACKS_PER_RUN)
        _write(folder, known | dict(cameras), run)
    return run


def enter_new_camera(folder: Path, name: str) -> int:
    """The number of a camera; a new one gets the next that is free, on the disk.

    Raises:
        SettingsError: the file is damaged, or it cannot be written.
    """
    with _alone(folder) as (known, runs):
        number = known.get(name)
        if number is None:
            number = free_number(known.values())
            _write(folder, known | {name: number}, runs)
    return number


def free_number(taken: Collection[int]) -> int:
    """The lowest number from 1 that no camera has."""
    return next(one for one in range(1, len(taken) + 2) if one not in taken)


def rename_camera(folder: Path, number: int, name: str) -> None:
    """Rename a camera; earlier sightings stay under its number.

    A camera that was never watched is not listed here and needs no renaming.

    Raises:
        SettingsError: another camera has or had that name, the file is damaged, or it cannot be
            written.
    """
    with _alone(folder) as (known, runs):
        if known.get(name, number) != number:
            raise SettingsError(
                f"There was already a camera {name!r}, and its sightings are kept under that name. "
                "Choose another one."
            )
        if number not in known.values() or known.get(name) == number:
            return
        others = {one: at for one, at in known.items() if at != number}
        _write(folder, others | {name: number}, runs)


def copy_cameras(source: Path, target: Path) -> None:
    """Give a copy of a gallery the camera numbers and the count of runs of the original.

    Args:
        source: folder of the original.
        target: folder of the copy; it must exist.

    Raises:
        SettingsError: the file is damaged, or the copy cannot be written.
    """
    known, runs = _read(source / FILE_NAME)
    if known:
        _write(target, known, runs)


def read_cameras(folder: Path) -> dict[str, int]:
    """Name -> number of all cameras that were ever watched with a gallery.

    Raises:
        SettingsError: the file is damaged, or the folder is a file.
    """
    require_no_file(folder, raises=SettingsError)
    return _read(folder / FILE_NAME)[0]


def track_number(run: int, track_id: int) -> int:
    """The track's number in the gallery, unique within its camera over all runs.

    Raises:
        SettingsError: the id is too large.
    """
    if not 0 <= track_id < TRACKS_PER_RUN:
        raise SettingsError(
            f"track ids must be below {TRACKS_PER_RUN:,}, got {track_id}; renumber the tracks."
        )
    return run * TRACKS_PER_RUN + track_id


@contextmanager
def _alone(folder: Path) -> Iterator[tuple[dict[str, int], int]]:
    """Cameras and runs of a locked file: the second of two starts reads what the first wrote."""
    try:
        with locked(folder):
            yield _read(folder / FILE_NAME)
    except OSError as error:
        raise SettingsError(
            f"{folder}: cannot be opened ({error.strerror or error}). Let this user read and write "
            "the gallery's folder, or name another gallery."
        ) from error


def _require_same(path: Path, known: Mapping[str, int], cameras: Mapping[str, int]) -> None:
    numbers = {number: name for name, number in known.items()}
    for name, number in cameras.items():
        if known.get(name, number) != number:
            raise SettingsError(
                f"camera {name!r} has number {number} in the settings, but {known[name]} in the "
                f"gallery ({path}). Set number = {known[name]}, or use another gallery."
            )
        if numbers.get(number, name) != name:
            raise CameraNumberTakenError(
                f"camera {name!r} has number {number} in the settings, but in the gallery that is "
                f"camera {numbers[number]!r} ({path}). Give it a number of its own; taken are "
                f"{sorted(numbers)}."
            )
        numbers[number] = name


def _write(folder: Path, cameras: Mapping[str, int], runs: int) -> None:
    content = {"runs": runs, "cameras": dict(sorted(cameras.items()))}
    with atomic_write(
        folder / FILE_NAME,
        raises=SettingsError,
        instead="make the folder writable",
        mode=permissions_in(folder),
    ) as file:
        file.write(json.dumps(content, indent=1).encode())


def _read(path: Path) -> tuple[dict[str, int], int]:
    try:
        values = parse_json(path.read_text(encoding="utf-8-sig"))
        cameras = {str(name): int(number) for name, number in values["cameras"].items()}
        return cameras, int(values["runs"])
    except FileNotFoundError:
        return {}, 0
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror or error}). Let this user read the gallery's "
            "folder, or name another gallery."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"{path}: cannot be read ({error!r}). The file maps cameras to numbers; write it again "
            'as {"runs": 1, "cameras": {"door": 1}} with the numbers used so far.'
        ) from error
