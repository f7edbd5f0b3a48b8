"""Watch cameras and recordings from Python: sightings as they come."""

import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from adln.api.networks import Network
from adln.cameras.detector import Detector
from adln.embedders.quality import Quality
from adln.pipeline.sightings import SightingEvent

_WAIT_S = 0.2


def watch(
    sources: str | Path | Sequence[str | Path],
    *,
    gallery: str | Path | None = None,
    network: str | Path | Network = "",
    quality: Quality | None = None,
    detector: str | Path | Detector | None = None,
    start: str = "",
) -> Iterator[SightingEvent]:
    """Watch cameras and recordings, and say who is seen.

    Sightings are stored in the gallery as they are by `adln watch`. A recording ends by itself;
    cameras are watched until the loop over the sightings is left.

    Args:
        sources: one or several: a video file, a folder of pictures, an address such as
            rtsp://camera/stream, or a USB camera such as "0"; or one file of settings (.toml).
        gallery: folder of the gallery; "adln-gallery" beside the first recording, or here, if left
            out.
        network: name, file or loaded network; the one that comes with adln if left out.
        quality: how deep people are embedded: "fast" by Res1, "best" by Res2, "balanced" by Res2
            where Res1 is in doubt; as the settings say if left out, which is "best".
        detector: YOLOX in ONNX, or an object that finds people; the one that
            `adln watch --fetch-detector` has fetched if left out.
        start: when recordings began, in ISO 8601; by their files if left out.

    Returns:
        An iterator over the sightings. A track may give several: the first when it is decided who
        it is, the last when the track ends.

    Raises:
        SettingsError: a source is not there, or the settings contradict each other.
        ModelFileError: network or detector cannot be opened.
        CameraError: while iterating: no source can be opened.

    Examples:
        >>> for sighting in adln.watch(clip, gallery=folder / "seen", detector=detector):
        ...     print(sighting.camera_name, sighting.person_id, sighting.verdict)
        door 1 unknown
        door 1 unknown
    """
    from adln.pipeline.assembly import assemble
    from adln.pipeline.plain_watch import settings_of

    several = [sources] if isinstance(sources, str | Path) else list(sources)
    named = str(network.path) if isinstance(network, Network) else str(network)
    file = Path(detector) if isinstance(detector, str | Path) else None
    settings, folder = settings_of(
        [str(source) for source in several],
        gallery=None if gallery is None else Path(gallery),
        detector=file,
        network=named,
        quality=quality,
        start=start,
    )
    finds = None if isinstance(detector, str | Path) else detector
    assembly = assemble(settings, folder, detector=finds)

    def sightings() -> Iterator[SightingEvent]:
        found: queue.Queue[SightingEvent] = queue.Queue()
        ended = threading.Event()
        problems: list[BaseException] = []
        stop = threading.Event()
        loop = assembly.loop(found.put)

        def work() -> None:
            try:
                loop.run(should_stop=stop.is_set)
            except BaseException as error:
                problems.append(error)
            finally:
                ended.set()

        thread = threading.Thread(target=work, name="adln watch", daemon=True)
        thread.start()
        try:
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
            thread.join()
            assembly.close()

    return sightings()
