"""The file of the cameras, as `adln watch` reads it, changed from the page.

Only what is changed is written anew: comments and everything else stay as they are. Before a file
takes the place of the one before, it is read by the code that the watch reads it with, and has to
say exactly what was meant.
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

# Its items are of many kinds, and which ones is checked by what they say in the end.
Document = Any
P = ParamSpec("P")
T = TypeVar("T")
# Files of this machine are for whoever has an account on it, not for those who use the page.
_ADDRESS = re.compile(r"(?:rtsps?|https?)://[!-~]{1,1000}|usb:\d{1,3}")
_TIMEOUT_S = 5.0
_PICTURE_WIDTH_PX = 1920
_PICTURE_QUALITY = 85
# Whoever reads the file looks for these.
_ALWAYS = frozenset({"name", "number", "source"})


_NEW_FILE = """\
# Cameras and alerts of the page.

[jsonl]
path = ""  # sightings are in the gallery; a name here has them written into a file as well
"""


def require_address(source: str) -> None:
    """Check that a camera may be added by an address.

    Raises:
        SettingsError: it is none that the service takes from a page. It is not repeated in full.
    """
    if not _ADDRESS.fullmatch(source):
        raise SettingsError(
            "A camera's address begins with rtsp://, rtsps://, http:// or https:// and has no "
            'spaces, or is a USB camera such as usb:0; got something else. Write "@" or "/" of a '
            "password as %40 or %2F."
        )


def read_cameras_of(path: Path) -> WatchSettings:
    """What a file of cameras says, which may be none yet; if there is no file, nothing.

    Raises:
        SettingsError: it cannot be read.
    """
    if path.exists():
        return read_settings(WatchSettings, path)
    return from_mapping(WatchSettings, tomllib.loads(_NEW_FILE), source=path.name)


def camera_of(settings: WatchSettings, number: int) -> CameraSettings | None:
    """A camera by its number; None if there is none."""
    return next((one for one in settings.cameras if one.number == number), None)


def _alone(change: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """Let nobody else, thread or process, change the file between its reading and its writing."""

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
    """Add a camera to a file, which is made if there is none.

    Args:
        path: TOML file, as of `adln watch`.
        name: what people call the camera; no other has it.
        source: its address.
        numbers: name -> number of the cameras that the gallery knows; a camera that comes back
            under its name has its number again.

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
    """Change a camera of a file; alerts and ways that name it name it as it is called then.

    Args:
        path: TOML file, as of `adln watch`.
        camera: as it is to be, in place of the one of its number.

    Raises:
        SettingsError: there is none of that number, name or address cannot be used, or the file
            cannot be changed.
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
    """Take a camera out of a file, and out of the ways that name it.

    Args:
        path: TOML file, as of `adln watch`.
        number: of the camera.

    Returns:
        The camera as it was.

    Raises:
        SettingsError: there is none of that number, an alert names it, or the file cannot be
            changed.
    """
    before = read_cameras_of(path)
    was = _require(before, number)
    for alert in before.alerts:
        if was.name in alert.cameras:
            raise SettingsError(
                f"The alert {alert.name} is about {was.name}. Remove that alert first."
            )
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
    """Add a rule to a file, which is made if there is none.

    Raises:
        SettingsError: the rule cannot be used, or the file cannot be changed.
    """
    before = read_cameras_of(path)
    after = replace(before, alerts=(*before.alerts, alert))
    _change(path, after, lambda document: _append(document, "alerts", _written(alert)))


@_alone
def remove_alerts(
    path: Path, which: Callable[[AlertSettings], bool], *, ignored: str | None = None
) -> int:
    """Take rules out of a file.

    Args:
        path: TOML file, as of `adln watch`.
        which: whether one is to go.
        ignored: a name that is to go from those who are never reported, too.

    Returns:
        How many there were. If none, the file is left alone.

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
    """Have rules about somebody, and that they are never reported, hold under another name.

    Args:
        path: TOML file, as of `adln watch`.
        before: what they were called.
        after: what they are called now.

    Returns:
        How many there are. If none, the file is left alone.

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
    """One picture of a camera, as JPEG.

    Raises:
        CameraError: it does not answer, or sends no picture; without its password.
        SettingsError: it is no address.
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
        raise CameraError(f"{public_name(source)}: it answers, but sends no picture.")
    image = Image.fromarray(picture.image)
    image.thumbnail((_PICTURE_WIDTH_PX, _PICTURE_WIDTH_PX))
    return to_jpeg(image, quality=_PICTURE_QUALITY)


def _require(settings: WatchSettings, number: int) -> CameraSettings:
    camera = camera_of(settings, number)
    if camera is None:
        raise SettingsError(f"There is no camera {number}.")
    return camera


def _without(way: TravelSettings, name: str) -> TravelSettings | None:
    """A way without a camera; None if there is no way left."""
    others = tuple(one for one in way.cameras if tidy_name(one) != name)
    return replace(way, cameras=others) if len(set(others)) > 1 else None


def _change(path: Path, after: WatchSettings, edit: Callable[[Document], None]) -> None:
    """Write a file that says what it is to say, in place of the one before."""
    text = path.read_text("utf-8-sig") if path.exists() else _NEW_FILE
    try:
        document = tomlkit.parse(text)
        edit(document)
        # Tables at the end are written with a line after them.
        written = tomlkit.dumps(document).rstrip("\n") + "\n"
        is_meant = from_mapping(WatchSettings, tomllib.loads(written), source=path.name) == after
    except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, TypeError, IndexError) as error:
        raise _by_hand(path) from error
    if not is_meant:
        raise _by_hand(path)
    # It may hold passwords; whoever may read it already still may.
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    with atomic_write(path, raises=ServiceError, instead="make it writable", mode=mode) as file:
        file.write(written.encode())


def _by_hand(path: Path) -> SettingsError:
    return SettingsError(
        f"{path.name} is written in a way that cannot be changed from the page; change it by hand."
    )


def _append(document: Document, key: str, values: Mapping[str, Any]) -> None:
    there = document.get(key)
    if there is not None and not isinstance(there, AoT):
        # Written as a list in one line.
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
    """Keys and values as they stand in a file: what has its default is left out."""
    default = type(value)()
    found: dict[str, Any] = {}
    for place in fields(value):
        given = getattr(value, place.name)
        if given != getattr(default, place.name) or place.name in _ALWAYS:
            found[place.name] = list(given) if isinstance(given, tuple) else given
    return found
