"""Lists a site's crops with their cameras and tracks, from folders.

One of these layouts::

    entrance/17/0003.500s.jpg     a folder per camera, in it a folder per track
    17/0003.500s.jpg              a folder per track, all of one camera
    c1_t17_3.5s.jpg               camera, track and, if known, time in the file name

A time is a number of seconds before an "s" at the end of the name. If any picture has none, times
are not used, and pictures are ordered by name.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.crops import picture_size
from adln.datasets.listing import entries, image_files, shown
from adln.errors import DatasetError, ImageError
from adln.matching.framing import why_not_a_crop

_NAME = re.compile(r"(?:camera|cam|c)[-_]?(\w+?)[-_](?:track|t)[-_]?(\d+)(?:[-_.].*)?", re.I)
# No camera has upright frames that are narrower.
_NARROWEST_FRAME_PX = 200
_LOOKED_AT = 20
_TIME = re.compile(r"(?:^|.*[-_])(\d+(?:\.\d+)?)s")


@dataclass(frozen=True, eq=False)
class SiteCrops:
    """N crops of people: pictures, cameras (N,) and tracks (N,) from 0, unique across cameras.

    `time_s` (N,) is None unless known for all; `camera_names` are by number.
    """

    paths: tuple[Path, ...]
    cameras: NDArray[np.int64]
    tracks: NDArray[np.int64]
    time_s: NDArray[np.float64] | None
    camera_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def num_tracks(self) -> int:
        """Number of tracks."""
        return len(np.unique(self.tracks))

    def describe(self) -> str:
        """The counts, in words."""
        cameras = len(self.camera_names)
        return (
            f"{len(self):,} crops of {self.num_tracks:,} tracks under "
            f"{cameras} camera{'s' if cameras != 1 else ''}"
        )


def has_tracks(folder: Path) -> bool:
    """Whether a folder holds crops in tracks, rather than the frames of a camera."""
    return folder.is_dir() and next(iter(_records(folder)), None) is not None


def are_crops(folder: Path) -> bool:
    """Whether a folder's pictures are crops of one person, by their sizes, rather than frames."""
    sizes = []
    for path in image_files(folder)[:_LOOKED_AT]:
        with suppress(ImageError):
            sizes.append(picture_size(path))
    return bool(sizes) and all(
        width < _NARROWEST_FRAME_PX and why_not_a_crop(width, height) is None
        for width, height in sizes
    )


def list_crops(folders: Sequence[Path]) -> SiteCrops:
    """List the crops in folders; see the module for layouts.

    The same camera name in two folders is one camera; tracks are never shared.

    Raises:
        DatasetError: there is no crop with a known track.
    """
    found = [
        (path, camera, f"{at}/{track}", _time(path))
        for at, folder in enumerate(folders)
        for path, camera, track in _records(folder)
    ]
    if not found:
        names = shown(entry.name for folder in folders for entry in entries(folder))
        raise DatasetError(
            f"{', '.join(map(str, folders))}: no crops with known tracks; expected "
            "camera/track/picture.jpg, track/picture.jpg, or names such as c1_t17_3.5s.jpg; "
            f"found {names}."
        )
    cameras = sorted({camera for _, camera, _, _ in found})
    places = {key: at for at, key in enumerate(sorted({(c, t) for _, c, t, _ in found}))}
    times = [time_s for *_, time_s in found]
    return SiteCrops(
        paths=tuple(path for path, *_ in found),
        cameras=np.array([cameras.index(camera) for _, camera, _, _ in found], np.int64),
        tracks=np.array([places[camera, track] for _, camera, track, _ in found], np.int64),
        time_s=None if None in times else np.array(times, np.float64),
        camera_names=tuple(cameras),
    )


def _records(folder: Path) -> Iterable[tuple[Path, str, str]]:
    """Path of the picture, name of the camera, name of the track."""
    for path in image_files(folder):
        match = _NAME.fullmatch(path.stem)
        if match is not None:
            yield path, match[1], match[2]
    for first in entries(folder):
        if not first.is_dir():
            continue
        for path in image_files(first):
            match = _NAME.fullmatch(path.stem)
            yield (path, match[1], match[2]) if match else (path, folder.name, first.name)
        for second in entries(first):
            if second.is_dir():
                for path in image_files(second):
                    yield path, first.name, second.name


def _time(path: Path) -> float | None:
    match = _TIME.fullmatch(path.stem)
    return None if match is None else float(match[1])
