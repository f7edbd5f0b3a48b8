"""Changes the watch file, which `adln watch` reads, on behalf of the page.

Comments and everything that does not change are kept. Before a new file replaces the old one, it is
parsed by the watch's own code and must give exactly the intended settings.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import wraps
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

    Args:
        path: TOML file, as of `adln watch`.
        name: unique name of the camera.
        source: its address.
        numbers: name -> number of the cameras the gallery knows; a camera added again under its
            old name gets its old number.

    Returns:
        The camera.

    Raises:
        SettingsError: name or address cannot be used, or the file cannot be changed.
    """
    require_address(source)
    before = read_cameras_of(path)
    used = {one.number for one in before.cameras} | set(numbers.values())
    number = numbers.get(tidy_name(name), max(used, default=-1) + 1)
    camera = CameraSettings(name=name, number=number, source=source)
    after = replace(before, cameras=(*before.cameras, camera))
    _change(path, after, lambda document: _append(document, "cameras", _written(camera)))
    return camera


@_alone
def edit_camera(path: Path, camera: CameraSettings) -> None:
    """Change a camera of the watch file; alerts and travel times follow a new name.

    Args:
        path: TOML file, as of `adln watch`.
        camera: replaces the camera with the same number.

    Raises:
        SettingsError: there is no such camera, name or address cannot be used, or the file cannot
            be changed.
    """
    before = read_cameras_of(path)
    was = _require(before, camera.number)
    if camera.source != was.source:
        require_address(camera.source)

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(camera.name if name == was.name else name for name in names)

    after = replace(
        before,
        cameras=tuple(camera if one is was else one for one in before.cameras),
        alerts=tuple(replace(one, cameras=renamed(one.cameras)) for one in before.alerts),
        travel=tuple(replace(one, cameras=renamed(one.cameras)) for one in before.travel),
    )

    def edit(document: Document) -> None:
        table = document["cameras"][before.cameras.index(was)]
        for key, value in _written(camera).items():
            if key not in table or table[key] != value:
                table[key] = value
        for key in set(table) - set(_written(camera)):
            del table[key]
        if camera.name != was.name:
            for rule in (*document.get("alerts", ()), *document.get("travel", ())):
                named = rule.get("cameras", ())
                for at, name in enumerate(named):
                    if tidy_name(name) == was.name:
                        named[at] = camera.name

    _change(path, after, edit)


@_alone
def remove_camera(path: Path, number: int) -> CameraSettings:
    """Remove a camera from the watch file, including its travel times.

    Args:
        path: TOML file, as of `adln watch`.
        number: of the camera.

    Returns:
        The removed camera.

    Raises:
        SettingsError: there is no such camera, an alert uses it, or the file cannot be changed.
    """
    before = read_cameras_of(path)
    was = _require(before, number)
    for alert in before.alerts:
        if was.name in alert.cameras:
            raise SettingsError(f"The alert {alert.name} uses {was.name}. Remove that alert first.")
    ways = [_without(one, was.name) for one in before.travel]
    after = replace(
        before,
        cameras=tuple(one for one in before.cameras if one is not was),
        travel=tuple(one for one in ways if one is not None),
    )

    def edit(document: Document) -> None:
        _delete(document, "cameras", before.cameras.index(was))
        for at in reversed(range(len(ways))):
            way = ways[at]
            if way is None:
                _delete(document, "travel", at)
            elif way != before.travel[at]:
                document["travel"][at]["cameras"] = list(way.cameras)

    _change(path, after, edit)
    return was


@_alone
def add_alert(path: Path, alert: AlertSettings) -> None:
    """Add an alert to the watch file, which is created if needed.

    Raises:
        SettingsError: the alert cannot be used, or the file cannot be changed.
    """
    before = read_cameras_of(path)
    after = replace(before, alerts=(*before.alerts, alert))
    _change(path, after, lambda document: _append(document, "alerts", _written(alert)))


@_alone
def remove_alerts(
    path: Path, which: Callable[[AlertSettings], bool], *, ignored: str | None = None
) -> int:
    """Remove alerts from the watch file.

    Args:
        path: TOML file, as of `adln watch`.
        which: selects the alerts to remove.
        ignored: a name to remove from the people who are never reported, too.

    Returns:
        The number removed. If it is 0, the file is not written.

    Raises:
        SettingsError: the file cannot be changed.
    """
    before = read_cameras_of(path)
    gone = [at for at, one in enumerate(before.alerts) if which(one)]
    names = _places(before.ignore, ignored)
    if not gone and not names:
        return 0
    after = replace(
        before,
        alerts=tuple(one for one in before.alerts if not which(one)),
        ignore=tuple(one for at, one in enumerate(before.ignore) if at not in names),
    )

    def edit(document: Document) -> None:
        for at in reversed(gone):
            _delete(document, "alerts", at)
        for at in reversed(names):
            _delete(document, "ignore", at)

    _change(path, after, edit)
    return len(gone) + len(names)


@_alone
def rename_in_alerts(path: Path, before: str, after: str) -> int:
    """Replace a person's name in alerts and among the people who are never reported.

    Args:
        path: TOML file, as of `adln watch`.
        before: the old name.
        after: the new name.

    Returns:
        The number of alerts changed. If it is 0, the file is not written.

    Raises:
        SettingsError: the file cannot be read or changed.
    """
    settings = read_cameras_of(path)
    theirs = _places([one.person for one in settings.alerts], before)
    names = _places(settings.ignore, before)
    if not theirs and not names:
        return 0
    alerts = tuple(
        replace(one, person=after) if at in theirs else one
        for at, one in enumerate(settings.alerts)
    )

    ignore = tuple(after if at in names else one for at, one in enumerate(settings.ignore))

    def edit(document: Document) -> None:
        for at in theirs:
            document["alerts"][at]["person"] = after
        for at in names:
            document["ignore"][at] = after

    _change(path, replace(settings, alerts=alerts, ignore=ignore), edit)
    return len(theirs) + len(names)


def _places(names: Sequence[str], name: str | None) -> list[int]:
    """Where a name stands among others, however a file encodes its accents."""
    return [at for at, one in enumerate(names) if is_same_name(one, name)]


def try_camera(source: str) -> bytes:
    """Take one picture from a camera, as JPEG.

    Raises:
        CameraError: it does not answer or sends no picture; does not contain its password.
        SettingsError: the address cannot be used.
    """
    from adln.cameras.captures import open_capture
    from adln.cameras.snapshots import SnapshotCapture, is_snapshot

    require_address(source)
    capture = (
        SnapshotCapture(source)
        if is_snapshot(source)
        else open_capture(source, timeout_s=_TIMEOUT_S)
    )
    try:
        picture = capture.read()
    finally:
        capture.close()
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


def _change(path: Path, after: WatchSettings, edit: Callable[[Document], None]) -> None:
    """Edit the file, check that it gives the intended settings, and replace the old one."""
    text = path.read_text("utf-8-sig") if path.exists() else _NEW_FILE
    try:
        document = tomlkit.parse(text)
        edit(document)
        # A table at the end is written with a blank line after it.
        written = tomlkit.dumps(document).rstrip("\n") + "\n"
        is_meant = from_mapping(WatchSettings, tomllib.loads(written), source=path.name) == after
    except (TOMLKitError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _by_hand(path) from error
    if not is_meant:
        raise _by_hand(path)
    # It may contain passwords: the permissions of an existing file are kept.
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    with atomic_write(path, raises=ServiceError, instead="make it writable", mode=mode) as file:
        file.write(written.encode())


def _by_hand(path: Path) -> SettingsError:
    return SettingsError(
        f"The layout of {path.name} does not allow changes from the page; edit it by hand."
    )


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
    if there is not None and len(there):
        if not there[-1].as_string().endswith("\n\n"):
            there[-1].add(tomlkit.nl())
        there.append(rows)
        return
    if document and not tomlkit.dumps(document).endswith("\n\n"):
        document.add(tomlkit.nl())
    tables = tomlkit.aot()
    tables.append(rows)
    document.append(key, tables)


def _delete(document: Document, key: str, at: int) -> None:
    del document[key][at]
    if not document[key]:
        del document[key]


def _written(value: CameraSettings | AlertSettings) -> dict[str, Any]:
    """Keys and values for the file, without those that have their default."""
    default = type(value)()
    found: dict[str, Any] = {}
    for place in fields(value):
        given = getattr(value, place.name)
        if given != getattr(default, place.name) or place.name in _ALWAYS:
            found[place.name] = list(given) if isinstance(given, tuple) else given
    return found
