"""Harvests crops with their tracks from cameras and recordings, as training data.

Detector, trackers and crop selection are those of a watch. Crops are pictures of people: they are
stored only in the given folder, readable by its owner only, and the caller must delete them.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from adln.atomic import atomic_folder, atomic_write
from adln.cameras.detector import Detector
from adln.cameras.selection import CropSelector, TrackReport
from adln.errors import SettingsError
from adln.pipeline.assembly import assemble
from adln.pipeline.watch_settings import WatchSettings
from adln.site.crops import has_tracks
from adln.strict import parse_json

CROPS_OF_A_TRACK = 8
CROP_SIZE = (256, 128)
"""Height and width in px of a stored crop: the input size of most teachers."""
_DONE = "harvested.json"
_QUALITY = 95


def digest_of(sources: Iterable[str]) -> str:
    """Identifies recordings and cameras in any order, without the passwords in their addresses."""
    return hashlib.sha256("\n".join(sorted(sources)).encode(errors="surrogateescape")).hexdigest()


def harvested(folder: Path) -> str | None:
    """Whose harvest into this folder is complete and found people: the digest of its sources.

    "" if an earlier version has not stated it; None if there is no such harvest.
    """
    try:
        facts = parse_json((folder / _DONE).read_text(encoding="utf-8"))
        sources = str(facts.get("sources", ""))
    except (OSError, ValueError, AttributeError):
        return None
    return sources if has_tracks(folder) else None


def harvest_again(folder: Path) -> None:
    """Let the next run harvest into this folder again; crops that are there stay until then."""
    (folder / _DONE).unlink(missing_ok=True)


def harvest(
    settings: WatchSettings,
    folder: Path,
    target: Path,
    *,
    sources: str = "",
    detector: Detector | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], object] = lambda _frames, _tracks: None,
) -> int:
    """Store crops of all tracks in the layout of `adln.site.crops`; returns the number of tracks.

    An interrupted harvest starts again, except that crops from live cameras are kept. The settings
    are of a watch, whose gallery is not used; `folder` is the base of their relative paths,
    `sources` the digest of what they name, and a `detector` replaces theirs. Recordings are read to
    their end; live cameras never end by themselves, so where there is one, `should_stop` is asked
    after each round. `on_progress` gets the frames processed and the tracks stored so far.

    Raises:
        AdlnError: a camera, the detector or the disk fails.
    """
    work = target.with_name(f".{target.name}.gallery")
    _prepare(target)
    run = sum(1 for _ in target.glob("run-*")) + 1
    shutil.rmtree(work, ignore_errors=True)
    plain = replace(settings, crops_per_track=CROPS_OF_A_TRACK)
    assembly = assemble(plain, folder, gallery_folder=work, detector=detector)
    try:
        if not assembly.live:
            _prepare(target, anew=True)
            run = 1
        harvest_again(target)
        (target / f"run-{run}").touch()
        selectors = {
            name: CropSelector(
                name,
                crops_per_track=CROPS_OF_A_TRACK,
                crop_size=CROP_SIZE,
                settings=settings.selection,
            )
            for name in assembly.parts
        }
        frames_seen = stored = 0
        last_s = dict.fromkeys(assembly.parts, 0.0)
        for frames in assembly.cameras.rounds():
            for frame, found in zip(frames, assembly.detector.detect(frames), strict=True):
                name = frame.camera_id
                update = assembly.parts[name].tracker.update(found, frame.time_s, frame.image)
                for report in selectors[name].update(frame, update):
                    stored += _store(report, target, run)
                last_s[name] = frame.time_s
            frames_seen += len(frames)
            on_progress(frames_seen, stored)
            if assembly.live and should_stop():
                break
        for name, part in assembly.parts.items():
            for report in selectors[name].end(part.tracker.finish(), last_s[name]):
                stored += _store(report, target, run)
    finally:
        assembly.close()
        shutil.rmtree(work, ignore_errors=True)
    facts = {"tracks": stored, "frames": frames_seen, "sources": sources}
    with atomic_write(target / _DONE, raises=SettingsError) as file:
        file.write(json.dumps(facts).encode())
    return stored


def _prepare(target: Path, *, anew: bool = False) -> None:
    if anew:
        shutil.rmtree(target, ignore_errors=True)
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{target}: cannot be written ({error.strerror or error}).") from error


def _store(report: TrackReport, target: Path, run: int) -> int:
    """Write the crops of a finished track; returns 1 if there were any, otherwise 0."""
    if report.reason != "ended" or not report.crops:
        return 0
    place = target / report.camera_id / str(run * 10_000_000 + report.track_id)
    # All crops of a track are stored, or none.
    with atomic_folder(place, raises=SettingsError) as folder:
        for crop in report.crops:
            name = folder / f"{crop.time_s:.3f}s.jpg"
            Image.fromarray(crop.image).save(name, quality=_QUALITY)
    return 1
