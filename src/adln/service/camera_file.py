"""Changes the watch file, which `adln watch` reads, on behalf of the page.

Comments and everything that does not change are kept. Before a new file replaces the old one, it is
parsed by the watch's own code and must give exactly the intended settings.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import wraps
from itertools import zip_longest
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import tomlkit
from PIL import Image
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from adln.atomic import atomic_write, locked
from adln.cameras.names import tidy_name
from adln.cameras.redaction import public_name
from adln.crops import to_jpeg
from adln.errors import CameraError, ServiceError, SettingsError
from adln.gallery.names import is_same_name
from adln.pipeline.alert_settings import AlertSettings
from adln.pipeline.watch_settings import CameraSettings, TravelSettings, WatchSettings
from adln.settings import from_mapping, read_settings

# A tomlkit document; the result is checked as settings, not by types.
Document = Any
P = ParamSpec("P")
T = TypeVar("T")
_Rule = TypeVar("_Rule", AlertSettings, TravelSettings)
# No file paths: users of the page must not be able to read files of this machine.
_ADDRESS = re.compile(r"(?:rtsps?|https?)://[!-~]{1,1000}|usb:\d{1,3}")
_TIMEOUT_S = 5.0
_PICTURE_WIDTH_PX = 1920
_PICTURE_QUALITY = 85
# Written even if they have their default.
_ALWAYS = frozenset({"name", "number", "source"})
_NEW_FILE = """\
# Cameras and alerts of the page.

[jsonl]
path = ""  # sightings are in the gallery; a name here has them written into a file as well
"""


def require_address(source: str) -> None:
    """Check the address of a camera that a user of the page wants to add.

    Raises:
        SettingsError: the page may not use it; does not quote it, because of passwords.
    """
    if not _ADDRESS.fullmatch(source):
        raise SettingsError(
            "A camera's address begins with rtsp://, rtsps://, http:// or https:// and has no "
            "spaces, or is a USB camera such as usb:0; got something else. In a password, write "
            '"@" as %40 and "/" as %2F.'
        )


def read_cameras_of(path: Path) -> WatchSettings:
    """Read a watch file, which may have no cameras; without a file, the defaults.

    Raises:
        SettingsError: it cannot be read.
    """
    if path.exists():
        return read_settings(WatchSettings, path)
    return from_mapping(WatchSettings, tomllib.loads(_NEW_FILE), source=path.name)


def camera_of(settings: WatchSettings, number: int) -> CameraSettings | None:
    """The camera with this number, or None."""
    return next((one for one in settings.cameras if one.number == number), None)


def _alone(change: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """Lock the file against other threads and processes while it is read, changed and written."""

    @wraps(change)
    def changed(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(path.parent):
                return change(path, *args, **kwargs)
        except OSError as error:
            raise ServiceError(f"{path}: cannot be written ({error.strerror or error}).") from error

    return changed


@_alone
def add_camera(path: Path, name: str, source: str, *, numbers: Mapping[str, int]) -> CameraSettings:
    """Add a camera to the watch file, which is created if needed.

    Of `numbers` (name -> number of the cameras that the gallery knows), one that is added again
    under its old name gets its old number.

    Raises:
        SettingsError: name or address cannot be used, or the file cannot be changed.
    """
    require_address(source)
    before = read_cameras_of(path)
    used = {one.number for one in before.cameras} | set(numbers.values())
    number = numbers.get(tidy_name(name), max(used, default=-1) + 1)
    camera = CameraSettings(name=name, number=number, source=source)
    _change(path, before, cameras=[*before.cameras, camera])
    return camera


@_alone
def edit_camera(path: Path, camera: CameraSettings) -> None:
    """Replace the camera that has this one's number; alerts and travel times follow a new name.

    Raises:
        SettingsError: there is no such camera, name or address cannot be used, or the file cannot
            be changed.
    """
    before = read_cameras_of(path)
    was = _require(before, camera.number)
    if camera.source != was.source:
        require_address(camera.source)

    def renamed(rules: Sequence[_Rule]) -> list[_Rule]:
        new = {was.name: camera.name}
        return [
            replace(rule, cameras=tuple(new.get(tidy_name(one), one) for one in rule.cameras))
            for rule in rules
        ]

    _change(
        path,
        before,
        cameras=[camera if one is was else one for one in before.cameras],
        alerts=renamed(before.alerts),
        travel=renamed(before.travel),
    )


@_alone
def remove_camera(path: Path, number: int) -> CameraSettings:
    """Remove a camera from the watch file, including its travel times, and return it.

    Raises:
        SettingsError: there is no such camera, an alert uses it, or the file cannot be changed.
    """
    before = read_cameras_of(path)
    was = _require(before, number)
    for alert in before.alerts:
        if was.name in alert.cameras:
            raise SettingsError(f"The alert {alert.name} uses {was.name}. Remove that alert first.")
    _change(
        path,
        before,
        cameras=[None if one is was else one for one in before.cameras],
        travel=[_without(one, was.name) for one in before.travel],
    )
    return was


@_alone
def add_alert(path: Path, alert: AlertSettings) -> None:
    """Add an alert to the watch file, which is created if needed.

    Raises:
        SettingsError: the alert cannot be used, or the file cannot be changed.
    """
    before = read_cameras_of(path)
    _change(path, before, alerts=[*before.alerts, alert])


@_alone
def remove_alerts(
    path: Path, which: Callable[[AlertSettings], bool], *, ignored: str | None = None
) -> int:
    """Remove alerts and, among the people who are never reported, the name `ignored`.

    Returns how many were removed.

    Raises:
        SettingsError: the file cannot be changed.
    """
    before = read_cameras_of(path)
    return _change(
        path,
        before,
        alerts=[None if which(one) else one for one in before.alerts],
        ignore=[None if is_same_name(one, ignored) else one for one in before.ignore],
    )


@_alone
def rename_in_alerts(path: Path, before: str, after: str) -> int:
    """Replace a person's name in alerts and among the people who are never reported.

    Returns in how many places.

    Raises:
        SettingsError: the file cannot be read or changed.
    """
    settings = read_cameras_of(path)
    return _change(
        path,
        settings,
        alerts=[
            replace(one, person=after) if is_same_name(one.person, before) else one
            for one in settings.alerts
        ],
        ignore=[after if is_same_name(one, before) else one for one in settings.ignore],
    )


def try_camera(source: str) -> bytes:
    """Take one picture from a camera, as JPEG.

    Raises:
        CameraError: it does not answer or sends no picture; does not contain its password.
        SettingsError: the address cannot be used.
    """
    from adln.cameras.captures import open_capture
    from adln.cameras.snapshots import SnapshotCapture, is_snapshot

    require_address(source)
    is_single = is_snapshot(source)
    opened = SnapshotCapture(source) if is_single else open_capture(source, timeout_s=_TIMEOUT_S)
    with closing(opened) as capture:
        picture = capture.read()
    if picture is None:
        raise CameraError(f"{public_name(source)}: the camera answers, but sends no picture.")
    image = Image.fromarray(picture.image)
    image.thumbnail((_PICTURE_WIDTH_PX, _PICTURE_WIDTH_PX))
    return to_jpeg(image, quality=_PICTURE_QUALITY)


def _require(settings: WatchSettings, number: int) -> CameraSettings:
    camera = camera_of(settings, number)
    if camera is None:
        raise SettingsError(f"There is no camera {number}.")
    return camera


def _without(way: TravelSettings, name: str) -> TravelSettings | None:
    """A travel time without one camera; None if fewer than two cameras remain."""
    others = tuple(one for one in way.cameras if tidy_name(one) != name)
    return replace(way, cameras=others) if len(set(others)) > 1 else None


def _change(path: Path, before: WatchSettings, **now: Sequence[Any]) -> int:
    """Change entries of the file, if the new one gives exactly the intended settings.

    Args:
        path: of the file.
        before: its settings.
        now: key of the file -> its entries as before, changed, or None for those to remove, in
            order; then those to add.

    Returns:
        The number of entries changed. If it is 0, the file is not written.
    """
    was = {key: getattr(before, key) for key in now}
    pairs = [pair for key in now for pair in zip_longest(was[key], now[key])]
    changes: int = sum(old is None or new != old for old, new in pairs)
    if not changes:
        return 0
    kept: Any = {key: tuple(one for one in now[key] if one is not None) for key in now}
    text = path.read_text("utf-8-sig") if path.exists() else _NEW_FILE
    try:
        document = tomlkit.parse(text)
        for key, entries in now.items():
            _edit(document, key, was[key], entries)
        # A table at the end is written with a blank line after it.
        written = tomlkit.dumps(document).rstrip("\n") + "\n"
        result = from_mapping(WatchSettings, tomllib.loads(written), source=path.name)
        if result != replace(before, **kept):
            raise ValueError("these are other settings")
    except (TOMLKitError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise SettingsError(
            f"The layout of {path.name} does not allow changes from the page; edit it by hand."
        ) from error
    # It may contain passwords: the permissions of an existing file are kept.
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    with atomic_write(path, raises=ServiceError, instead="make it writable", mode=mode) as file:
        file.write(written.encode())
    return changes


def _edit(document: Document, key: str, was: Sequence[Any], now: Sequence[Any]) -> None:
    """Change the entries of a key, and nothing else of what is written; see `_change`."""
    for at in reversed(range(len(was))):
        if now[at] is None:
            del document[key][at]
        elif now[at] != was[at]:
            if isinstance(now[at], str):
                document[key][at] = now[at]
            else:
                _update(document[key][at], was[at], now[at])
    if was and not document[key]:
        del document[key]
    for one in now[len(was) :]:
        _append(document, key, _written(one))


def _update(table: Document, was: Any, now: Any) -> None:
    written = _written(now)
    for key, new in vars(now).items():
        old = getattr(was, key)
        if new == old:
            continue
        if key not in written:
            del table[key]
        elif isinstance(new, tuple) and len(new) == len(old):
            # The list stays laid out as it is.
            for at in range(len(new)):
                if new[at] != old[at]:
                    table[key][at] = new[at]
        else:
            table[key] = written[key]


def _append(document: Document, key: str, values: Mapping[str, Any]) -> None:
    there = document.get(key)
    if there is not None and not isinstance(there, AoT):
        # Written as an inline array.
        table = tomlkit.inline_table()
        table.update(values)
        there.append(table)
        return
    rows = tomlkit.table()
    rows.update(values)
    rows.add(tomlkit.nl())
    if there:
        if not there[-1].as_string().endswith("\n\n"):
            there[-1].add(tomlkit.nl())
        there.append(rows)
        return
    if document and not tomlkit.dumps(document).endswith("\n\n"):
        document.add(tomlkit.nl())
    tables = tomlkit.aot()
    tables.append(rows)
    document.append(key, tables)


def _written(value: Any) -> dict[str, Any]:
    """Keys and values for the file, without those that have their default."""
    default = vars(type(value)())
    return {
        name: list(given) if isinstance(given, tuple) else given
        for name, given in vars(value).items()
        if given != default[name] or name in _ALWAYS
    }
