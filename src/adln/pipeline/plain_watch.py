"""Settings of a watch from the command line: a settings file, or cameras and recordings."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from adln.atomic import is_there
from adln.cameras.captures import is_live, is_stream
from adln.cameras.names import is_camera_name, tidy_name
from adln.cameras.redaction import public_name
from adln.embedders.quality import Quality
from adln.errors import SettingsError
from adln.pipeline.roster import free_number, read_cameras
from adln.pipeline.watch_settings import (
    CameraSettings,
    DetectorSettings,
    JsonlSettings,
    WatchNetworkSettings,
    WatchSettings,
    read_watch_settings,
)
from adln.settings import changed

GALLERY_NAME = "adln-gallery"
_LONGEST_NAME = 48


def settings_of(
    sources: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    gallery: Path | None = None,
    detector: Path | None = None,
    network: str = "",
    quality: Quality | None = None,
    start: str | datetime = "",
) -> tuple[WatchSettings, Path]:
    """The settings for the given sources, and the folder that paths in them are relative to.

    `sources` are one settings file (.toml), or video files, folders of pictures, addresses and USB
    cameras. `overrides` are further settings, as KEY=VALUE in TOML; `quality` overrides the
    settings. Without a settings file, a gallery that is not named is "adln-gallery" beside the
    first recording, or in the working directory. The start of the recordings is in ISO 8601 or a
    datetime, in local time unless it has a zone; of a local time that passes twice, as the clocks
    are set back, the first is meant.

    Raises:
        SettingsError: a source does not exist, a setting is invalid, a settings file is combined
            with an argument that it excludes, or `start` is not a time, or a local one that the
            clocks skip.
    """
    overrides = (*([f"quality={json.dumps(quality)}"] if quality else []), *overrides)
    files = [source for source in sources if source.lower().endswith(".toml")]
    if not files:
        plain = _plain(sources, gallery, detector, network, start)
        return (changed(plain, overrides) if overrides else plain), Path.cwd()
    if len(sources) > 1:
        raise SettingsError(
            f"{files[0]} is a settings file; name it alone, with the cameras in it."
        )
    if start:
        raise SettingsError("a start applies to recordings; write start into the settings file.")
    more = [("gallery", gallery), ("detector.model", detector)]
    if is_there(Path(network)):
        network = str(Path(network).absolute())  # relative to here, not to the settings
    overrides = (
        *(f"{key}={json.dumps(str(value.absolute()))}" for key, value in more if value),
        *([f"network.files={json.dumps([network])}"] if network else []),
        *overrides,
    )
    config = Path(files[0])
    return read_watch_settings(config, overrides), config.resolve().parent


def _plain(
    sources: Sequence[str],
    gallery: Path | None,
    detector: Path | None,
    network: str,
    start: str | datetime,
) -> WatchSettings:
    """Settings, with absolute paths, of a watch of these cameras and recordings."""
    where = [_absolute(source) for source in sources]
    place = gallery.absolute() if gallery is not None else _beside(where)
    begun = _moment(start) if start else ""
    numbers = _numbers([_name(source) for source in where], read_cameras(place))
    cameras = tuple(
        CameraSettings(
            name=name, number=number, source=source, start="" if is_live(source) else begun
        )
        for source, (name, number) in zip(where, numbers, strict=True)
    )
    found = WatchSettings(
        cameras=cameras,
        gallery=str(place),
        outbox=str(place / "watch" / "outbox.db"),
        jsonl=JsonlSettings(path=str(place / "watch" / "sightings.jsonl")),
        detector=DetectorSettings(model=str(detector.absolute()) if detector else ""),
    )
    return replace(found, network=WatchNetworkSettings(files=(network,))) if network else found


def _absolute(source: str) -> str:
    if is_live(source):
        return source
    path = Path(source)
    if not path.exists():
        raise SettingsError(
            f"{public_name(source)}: there is no such file or folder. Name a video file, a folder "
            "of pictures, an address such as rtsp://camera/stream, or a USB camera such as 0."
        )
    return str(path.absolute())


def _beside(sources: Sequence[str]) -> Path:
    """Folder of the gallery: beside the first recording, if that is writable."""
    for source in sources:
        if not is_live(source):
            beside = Path(source).parent
            if os.access(beside, os.W_OK | os.X_OK):
                return beside / GALLERY_NAME
    return Path.cwd() / GALLERY_NAME


def _name(source: str) -> str:
    """Default name of a camera."""
    if is_stream(source):
        shown = urlsplit(public_name(source))
        name = (shown.hostname or "camera").replace("*", "") or "camera"
    elif is_live(source):
        name = f"usb {''.join(filter(str.isdigit, source))}"
    else:
        path = Path(public_name(source))
        name = path.name if path.is_dir() else path.stem
    plain = "".join(letter if is_camera_name(letter) else " " for letter in tidy_name(name))
    return tidy_name(plain[:_LONGEST_NAME]) or "camera"


def _numbers(names: Sequence[str], known: Mapping[str, int]) -> list[tuple[str, int]]:
    """Make names unique; give each the number it has in the gallery, or a new one."""
    given: dict[str, int] = {}
    taken = set(known.values())
    for name in names:
        unique, count = name, 1
        while unique in given:
            count += 1
            unique = f"{name} {count}"
        number = known.get(unique)
        if number is None:
            number = free_number(taken)
            taken.add(number)
        given[unique] = number
    return list(given.items())


def _moment(given: str | datetime) -> str:
    """A time with its zone; without one it is local."""
    try:
        begin = given if isinstance(given, datetime) else datetime.fromisoformat(given)
        moment = begin.astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(
            f"{str(given)!r} is not a time; write it as 2026-11-22T14:30 or 2026-11-22T14:30+01:00."
        ) from error
    if begin.tzinfo is None and moment.replace(tzinfo=None) != begin:
        raise SettingsError(
            f"{str(given)!r} is no local time: the clocks are set forward over it. Write another, "
            "or state the zone as in 2026-11-22T14:30+01:00."
        )
    return moment.isoformat()
