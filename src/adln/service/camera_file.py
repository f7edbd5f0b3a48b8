"""The file of the cameras, as `adln watch` reads it: cameras are added to it, the rest stays."""

import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from adln.cameras.names import tidy_name
from adln.cameras.redaction import public_name, public_text
from adln.errors import CameraError, SettingsError
from adln.pipeline.watch_settings import CameraSettings, WatchSettings, read_watch_settings

# Files of this machine are for whoever has an account on it, not for those who use the page.
_ADDRESS = re.compile(r"(?:rtsps?|https?)://[!-~]{1,1000}|usb:\d{1,3}")
_TIMEOUT_S = 5.0
_PICTURE_WIDTH_PX = 960


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
    """What a file of cameras says; if there is none, nothing."""
    return read_watch_settings(path) if path.exists() else WatchSettings()


def add_camera(path: Path, name: str, source: str, *, numbers: Mapping[str, int]) -> CameraSettings:
    """Add a camera to the end of a file, which is made if there is none.

    Args:
        path: TOML file, as of `adln watch`. What stands in it stays as it is written.
        name: what people call the camera; no other has it.
        source: its address.
        numbers: name -> number of the cameras that the gallery knows; a camera that comes back
            under its name has its number again.

    Returns:
        The camera.

    Raises:
        SettingsError: name or address cannot be used, or the file cannot be added to.
    """
    require_address(source)
    before = read_cameras_of(path)
    used = {one.number for one in before.cameras} | set(numbers.values())
    number = numbers.get(tidy_name(name), max(used, default=-1) + 1)
    camera = CameraSettings(name=name, number=number, source=source)
    text = path.read_text("utf-8") if path.exists() else ""
    lines = [f"{key} = {_toml(value)}" for key, value in _written(camera).items()]
    added = "\n".join([text.rstrip("\n"), "", "[[cameras]]", *lines, ""]).lstrip("\n")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Beside it, so that a power cut leaves the one or the other; it may hold passwords.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".toml")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(added)
            file.flush()
            os.fsync(file.fileno())
        try:
            read_watch_settings(Path(draft))
        except SettingsError as error:
            raise SettingsError(
                public_text(str(error).replace(draft, path.name), source)
            ) from error
        if path.exists():
            Path(draft).chmod(path.stat().st_mode & 0o777)
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)
    return camera


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
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _written(camera: CameraSettings) -> dict[str, str | int]:
    return {"name": camera.name, "number": camera.number, "source": camera.source}


def _toml(value: str | int) -> str:
    # JSON's text literals are TOML's as well, as long as nothing is written as a pair.
    return json.dumps(value, ensure_ascii=False)
