"""Watch cameras and recordings from Python: sightings as they come."""

import queue
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from adln.api.gallery import Gallery
from adln.api.networks import Network
from adln.arguments import checked
from adln.cameras.detections import Detections
from adln.cameras.detector import Detector, detect_with, require_detector
from adln.cameras.frames import Frame
from adln.embedders.quality import Quality
from adln.errors import CameraError, CameraNumberTakenError, SettingsError
from adln.pipeline.sightings import SightingEvent

_WAIT_S = 0.2
_LEAST_TRIES = 20  # of a detector, until it is given up


class _WatchedDetector:
    """A detector of somebody else, which may never work: a watch would go on without a sighting."""

    def __init__(self, detector: Detector, stop: threading.Event) -> None:
        require_detector(detector)
        self._detector, self._stop = detector, stop
        self._works = False
        self._tries = 0
        self._problem: Exception | None = None

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        try:
            found = detect_with(self._detector, frames)
        except Exception as error:
            self._problem = error
            self._tries += 1
            if self._tries >= _LEAST_TRIES and not self._works:
                self._stop.set()
            raise
        self._works = True
        return found

    def require_use(self) -> None:
        """Tell of a detector that has failed in each frame."""
        if self._problem is not None and not self._works:
            told = f"{type(self._problem).__name__}: {self._problem}"
            raise CameraError(f"the detector fails in each frame: {told}") from self._problem


@checked(SettingsError)
def watch(
    sources: str | Path | int | Sequence[str | Path | int],
    *,
    gallery: str | Path | Gallery | None = None,
    network: str | Path | Network = "",
    quality: Quality | None = None,
    detector: str | Path | Detector | None = None,
    start: str | datetime = "",
) -> Iterator[SightingEvent]:
    """Watch cameras and recordings, and identify people.

    Sightings are stored in the gallery as with `adln watch`. Recordings end by themselves;
    cameras are watched until you leave the loop over the sightings.

    Args:
        sources: one or several: a video file, a folder of pictures, an address such as
            rtsp://camera/stream, or a USB camera such as 0; or one settings file (.toml).
        gallery: the gallery or its folder; default: "adln-gallery" beside the first recording, or
            in the current folder.
        network: name, file or loaded network; default: the shipped one.
        quality: the depth of embedding: "fast" by Res1, "best" by Res2, "balanced" by Res2
            where Res1 finds no match; default: as in the settings, else "best".
        detector: YOLOX in ONNX, or a detector object; default: the one that
            `adln watch --fetch-detector` downloaded.
        start: when recordings began, in ISO 8601 or as a datetime, in local time unless it has a
            time zone; of a local time that passes twice, as the clocks are set back, the first is
            meant, unless the datetime has `fold`; default: the time of their files.

    Returns:
        An iterator over the sightings. A track may give several: the first when the person is
        identified, the last when the track ends.

    Raises:
        SettingsError: a source does not exist, or the settings contradict each other.
        ModelFileError: network or detector cannot be opened.
        CameraError: while iterating: no source can be opened, or the detector object fails on
            every frame.

    Examples:
        >>> for sighting in adln.watch(clip, gallery=folder / "seen", detector=detector):
        ...     print(sighting.camera_name, sighting.person_id, sighting.verdict)
        door 1 unknown
        door 1 unknown
    """
    from adln.pipeline.assembly import assemble
    from adln.pipeline.plain_watch import settings_of
    from adln.pipeline.watch_settings import WatchSettings

    several = [sources] if isinstance(sources, str | Path | int) else list(sources or ())
    if not several:
        raise SettingsError("expected a camera or a recording to watch, got none.")
    stop = threading.Event()
    finds = None
    if detector is not None and not isinstance(detector, str | Path):
        finds = _WatchedDetector(detector, stop)
    if isinstance(gallery, Gallery):
        gallery = gallery.folder
    place = None if gallery is None else Path(gallery)
    overrides = []
    if isinstance(network, Network):
        # What a loaded network stands for besides its file.
        if network.depth != max(network.embedder.depths):
            overrides.append(f"network.depth={network.depth}")
        network = network.path
    named = str(network)

    def settings() -> tuple[WatchSettings, Path]:
        return settings_of(
            [str(source) for source in several],
            overrides,
            gallery=place,
            detector=Path(detector) if isinstance(detector, str | Path) else None,
            network=named,
            quality=quality,
            start=start,
        )

    wanted, folder = settings()
    while True:
        try:
            assembly = assemble(wanted, folder, detector=finds)
            break
        except CameraNumberTakenError:
            # Another watch of a new camera began in the same instant.
            before, (wanted, folder) = wanted, settings()
            if wanted == before:
                raise

    def sightings() -> Iterator[Any]:
        found: queue.Queue[SightingEvent] = queue.Queue()
        ended = threading.Event()
        problems: list[BaseException] = []
        loop = assembly.loop(found.put)

        def work() -> None:
            try:
                loop.run(should_stop=stop.is_set)
                if finds is not None:
                    finds.require_use()
            except BaseException as error:
                problems.append(error)
            finally:
                ended.set()

        thread = threading.Thread(target=work, name="adln watch", daemon=True)
        try:
            # Reached at once: else nothing would be closed for who never asks for a sighting.
            yield None
            thread.start()
            while not (ended.is_set() and found.empty()):
                try:
                    yield found.get(timeout=_WAIT_S)
                except queue.Empty:
                    continue
            if problems:
                raise problems[0]
        finally:
            stop.set()
            assembly.cameras.wake()
            if thread.ident is not None:
                thread.join()
            assembly.close()

    begun = sightings()
    next(begun)
    return begun
