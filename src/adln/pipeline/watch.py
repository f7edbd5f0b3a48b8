"""The loop: frames -> people -> tracks -> crops -> embeddings -> identities -> sightings.

All parts are passed in, and nothing is kept of finished tracks, so memory use is constant. Errors
of one camera are logged and do not affect the others.
"""

import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adln.cameras.detections import Detections, nobody
from adln.cameras.detector import Detector
from adln.cameras.frames import CameraStatus, Frame
from adln.cameras.redaction import public_text
from adln.cameras.selection import SelectedCrop, TrackReport
from adln.cameras.tracker import TrackUpdate
from adln.crops import kept_jpeg
from adln.errors import AdlnError
from adln.pipeline.crop_embedding import embed_crops
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.evidence import Answer, EmbeddedCrop, Evidence
from adln.pipeline.identity import IdentityBook
from adln.pipeline.load import Costs, LoadController
from adln.pipeline.roster import track_number
from adln.pipeline.sightings import SightingEvent, make_event_id
from adln.pipeline.watch_parts import (
    CameraParts,
    NamedBox,
    OpenTrack,
    Pictured,
    Rounds,
    SeenFrame,
    TrackEnd,
    WatchProgress,
    is_pictured,
)

if TYPE_CHECKING:
    from adln.pipeline.metrics import PipelineMetrics

__all__ = ["CameraParts", "NamedBox", "Rounds", "SeenFrame", "TrackEnd", "Watch", "WatchProgress"]

STAGES = ("read", "detect", "track", "select", "embed", "identify", "deliver")
# A camera silent for this long has nobody in view any more.
_SILENT_S = 3.0
# A larger gap in a camera's times is not part of one stay: the recorder paused, or the clock was
# set.
_LEAP_S = 60.0
# Log one failure of a camera in this many.
_LOG_EVERY = 100

_log = logging.getLogger(__name__)


class Watch:
    """Processes the frames of all cameras.

    `parts` has those for each camera by its name, `run` is its number (see `adln.pipeline.roster`).
    Every crop is embedded at `first_depth` first (see `embed_crops`), or at the depth of the load
    at once. The work is adapted by stated costs, or by measured ones. Where `pictures` says so,
    sightings and gallery get pictures. Each sighting, processed frame and finished track is handed
    on by a call. The stages are measured by `clock`, in s.
    """

    def __init__(
        self,
        *,
        cameras: Rounds,
        parts: Mapping[str, CameraParts],
        detector: Detector,
        embedder: DepthEmbedder,
        book: IdentityBook,
        load: LoadController,
        run: int,
        deliver: Callable[[SightingEvent], object],
        costs: Costs | None = None,
        first_depth: int | None = None,
        pictures: Pictured = False,
        metrics: "PipelineMetrics | None" = None,
        on_frame: Callable[[SeenFrame], object] | None = None,
        on_track_end: Callable[[TrackEnd], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._cameras = cameras
        self._parts = dict(parts)
        self._names = {part.number: name for name, part in parts.items()}
        self._detector = detector
        self._embedder = embedder
        self._book = book
        self._load = load
        self._run = run
        self._deliver = deliver
        self._costs = costs
        self._pictures = pictures
        self._first_depth = first_depth
        self._metrics = metrics
        self._on_frame = on_frame
        self._on_track_end = on_track_end
        self._clock = clock
        self._open: dict[tuple[str, int], OpenTrack] = {}
        self._latest_s: dict[str, float] = {}
        self._has_live = any(part.live for part in self._parts.values())
        # Live and recorded cameras have different clocks: True is the live cameras' one.
        self._newest_s: dict[bool, float] = {}
        self._video_s: dict[bool, float] = {}
        self._heard_s = clock()
        self._has_frames = False
        self._dropped_before: Counter[str] = Counter()
        self._reconnects_before: Counter[str] = Counter()
        self.progress = WatchProgress()
        self._use_level()

    def run(
        self,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        on_round: Callable[[WatchProgress, list[CameraStatus]], object] | None = None,
    ) -> WatchProgress:
        """Run until all cameras have ended, or until asked to stop; then end all tracks.

        Returns the progress, with which `on_round` is called after each round, at the end.
        """
        begun = self._clock()
        rounds = iter(self._cameras.rounds())
        while not should_stop():
            with self._timed("read"):
                frames = next(rounds, None)
            if frames is None:
                break
            self._round(frames)
            self.progress.wall_s = self._clock() - begun
            if on_round is not None:
                on_round(self.progress, self._cameras.statuses())
        self._end_cameras(list(self._parts))
        self.progress.wall_s = self._clock() - begun
        return self.progress

    # -- a round -----------------------------------------------------------------------------

    def _round(self, frames: Sequence[Frame]) -> None:
        wanted = []
        self._has_frames = bool(frames)
        keep = self._load.level.keep_one_in
        for frame in frames:
            name = frame.camera_id
            if frame.time_s - self._latest_s.get(name, frame.time_s) > _LEAP_S:
                self._end_cameras([name])
            self._latest_s[name] = frame.time_s
            if frame.index % keep and self._is_paced(name):
                self.progress.skipped[frame.camera_id] += 1
            else:
                wanted.append(frame)
        before = self.progress.stage_ms.copy()
        reports = self._reports(wanted)
        crops = self._embed(reports)
        self._identify(reports)
        self._take_time(frames)
        self._end_silent(frames)
        self._keep_pace(frames, before, len(wanted), crops)
        if self._metrics is not None:
            self._count(frames)

    def _reports(self, frames: Sequence[Frame]) -> list[TrackReport]:
        """Detect, track and select crops; returns the tracks to embed now."""
        reports: list[TrackReport] = []
        with self._timed("detect"):
            detections = self._detect(frames)
        for frame, found in zip(frames, detections, strict=True):
            name, part = frame.camera_id, self._parts[frame.camera_id]
            try:
                with self._timed("track"):
                    update = part.tracker.update(found, frame.time_s, frame.image)
                with self._timed("select"):
                    reports += part.selector.update(frame, update)
                self._book.saw(
                    part.number,
                    frame.time_s,
                    [track_number(self._run, person.track_id) for person in update.people],
                )
            except Exception as error:
                self._trouble(name, error)
                continue
            for person in update.people:
                if (name, person.track_id) not in self._open:
                    self._open[name, person.track_id] = OpenTrack()
                    self.progress.tracks[name] += 1
            self.progress.frames[name] += 1
            self.progress.people[name] = len(update.people)
            if self._on_frame is not None:
                try:
                    self._on_frame(self._named(frame, update))
                except Exception as error:
                    self._trouble(name, error)
        return reports

    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        if not frames:
            return []
        try:
            return self._detector.detect(frames)
        except Exception:
            # One by one, so that an unusable frame affects its own camera only.
            found = []
            for frame in frames:
                try:
                    found += self._detector.detect([frame])
                except Exception as error:
                    self._trouble(frame.camera_id, error)
                    found.append(nobody())
            return found

    def _embed(self, reports: Sequence[TrackReport]) -> Counter[int]:
        """Embed the new crops of the reports; returns the number of crops by depth."""
        with self._timed("embed"):
            for report in reports:
                track = self._open.setdefault((report.camera_id, report.track_id), OpenTrack())
                track.report = report
                kept = {crop.crop_id for crop in report.crops}
                for crop_id in track.embeddings.keys() - kept:
                    del track.embeddings[crop_id]
            depth = self._load.level.depth
            tried = embed_crops(
                self._embedder,
                reports,
                self._open,
                first=min(self._first_depth or depth, depth),
                depth=depth,
                is_sure=self._is_sure,
            )
            for name, depth, error in tried:
                if error is not None:
                    self._trouble(name, error)
                    continue
                self.progress.crops[depth] += 1
                if self._metrics is not None:
                    self._metrics.crops_embedded.labels(name, depth).inc()
            return Counter(depth for _, depth, _ in tried)

    def _is_sure(self, report: TrackReport) -> bool:
        try:
            return self._book.is_sure(self._evidence(report))
        except Exception:
            return False

    def _identify(self, reports: Sequence[TrackReport]) -> None:
        with self._timed("identify"):
            answers = self._decide(reports)
        with self._timed("deliver"):
            for answer in answers:
                try:
                    self._say(answer)
                except Exception as error:
                    self._trouble(self._names[answer.camera], error)
            for report in reports:
                if report.reason == "ended":
                    self._open.pop((report.camera_id, report.track_id), None)
            self.progress.identities = self._book.num_persons

    def _decide(self, reports: Sequence[TrackReport]) -> list[Answer]:
        """Identities of the tracks; one that cannot be decided does not affect the others."""
        evidence = []
        for report in reports:
            try:
                evidence.append(self._evidence(report))
            except Exception as error:
                self._trouble(report.camera_id, error)
        try:
            return self._book.decide(evidence)
        except Exception:
            answers: list[Answer] = []
            for one in evidence:
                try:
                    answers += self._book.decide([one])
                except Exception as error:
                    self._trouble(self._names[one.camera], error)
            return answers

    def _evidence(self, report: TrackReport) -> Evidence:
        track = self._open[report.camera_id, report.track_id]
        return Evidence(
            camera=self._parts[report.camera_id].number,
            track=track_number(self._run, report.track_id),
            first_s=report.first_s,
            last_s=report.last_s,
            crops=tuple(
                EmbeddedCrop(
                    crop_id=crop.crop_id,
                    time_s=crop.time_s,
                    box_xyxy=_plain_box(crop.box_xyxy),
                    quality=crop.quality,
                    embeddings=track.embeddings[crop.crop_id],
                    thumbnail=self._picture(report.camera_id, crop),
                )
                for crop in report.crops
                if crop.crop_id in track.embeddings
            ),
            most_crops=self._load.level.crops_per_track,
            is_last=report.reason == "ended",
        )

    def _picture(self, camera: str, crop: SelectedCrop | None) -> bytes | None:
        if crop is None or not is_pictured(self._pictures, camera):
            return None
        return kept_jpeg(crop.image)

    def _say(self, answer: Answer) -> None:
        """Report a sighting for an answer, if it says something new."""
        name = self._names[answer.camera]
        track_id = answer.track - track_number(self._run, 0)
        key = name, track_id
        track = self._open.get(key)
        if track is None or track.report is None:
            return
        report, track.answer = track.report, answer
        nothing_known = answer.verdict == "unknown" and answer.person_id is None
        if answer.is_last or (answer.changed and not (nothing_known and track.said == 0)):
            crop = max(report.crops, key=lambda one: one.quality, default=None)
            part = self._parts[name]
            event = SightingEvent(
                # A tracker may reuse ids after its camera was silent, at a later time.
                event_id=make_event_id(
                    part.source_name, name, track_id, round(1000 * report.first_s), track.said
                ),
                camera_id=answer.camera,
                camera_name=name,
                track_id=answer.track,
                first_time_s=report.first_s,
                last_time_s=max(report.first_s, report.last_s),
                person_id=answer.person_id,
                verdict=answer.verdict,
                probability=round(min(1.0, max(0.0, answer.probability)), 6),
                depth=answer.depth or self._load.level.depth,
                model=self._embedder.digest,
                box_xyxy=_plain_box(report.last_box_xyxy),
                quality=0.0 if crop is None else round(min(1.0, crop.quality), 6),
                crop_jpeg=self._picture(name, crop),
                **_why(answer),
                new_person=_is_enrolment(answer),
            )
            track.said += 1
            _log.info("%s, track %d: %s (%s)", name, track_id, event.verdict, event.reason)
            self._deliver(event)
            if self._metrics is not None:
                self._metrics.sightings.labels(name, event.verdict).inc()
            if answer.is_last:
                self.progress.verdicts[event.verdict] += 1
                if self._on_track_end is not None:
                    image = None if crop is None else crop.image
                    self._on_track_end(TrackEnd(event=event, crop=image))
        if answer.is_last:
            del self._open[key]

    # -- the end of tracks -------------------------------------------------------------------

    def _end_silent(self, frames: Sequence[Frame]) -> None:
        """End the tracks of cameras that have sent no frame for a while."""
        if frames:
            self._heard_s = self._clock()
        elif self._clock() - self._heard_s > _SILENT_S:
            # No camera delivers, so frame times cannot show how long it has been.
            self._end_cameras(list(self._latest_s))
        self._end_cameras(
            [
                name
                for name, time_s in self._latest_s.items()
                if self._newest_s.get(self._parts[name].live, time_s) - time_s > _SILENT_S
            ]
        )

    def _end_cameras(self, names: Sequence[str]) -> None:
        reports: list[TrackReport] = []
        for name in names:
            time_s = self._latest_s.pop(name, None)
            if time_s is None:
                continue
            part = self._parts[name]
            reports += part.selector.end(part.tracker.finish(), time_s)
            self.progress.people[name] = 0
        if reports:
            self._embed(reports)
            self._identify(reports)

    # -- pace and counts ---------------------------------------------------------------------

    def _keep_pace(
        self, frames: Sequence[Frame], before: Counter[str], looked_at: int, crops: Counter[int]
    ) -> None:
        if not frames:
            return
        self.progress.rounds += 1
        paced = [frame for frame in frames if self._is_paced(frame.camera_id)]
        if not paced:
            return
        if self._costs is not None:
            frames_ms, crops_ms = self._costs.of(looked_at, crops)
        else:
            spent = self.progress.stage_ms - before
            crops_ms = spent["embed"]
            frames_ms = sum(ms for stage, ms in spent.items() if stage not in ("read", "embed"))
        share = len(paced) / len(frames)
        newest_s = max(frame.time_s for frame in paced)
        is_changed = self._load.observe(
            newest_s, frames_ms=share * frames_ms, crops_ms=share * crops_ms
        )
        self.progress.load_ms = self._load.load_ms
        if is_changed:
            self.progress.steps += 1
            self._use_level()
            level = self._load.level
            _log.info(
                "%.0f ms of work per second of video: now %d crops per track, Res%d, 1 frame in %d",
                self._load.load_ms,
                level.crops_per_track,
                level.depth,
                level.keep_one_in,
            )

    def _is_paced(self, name: str) -> bool:
        """Whether a camera's frames may be skipped to keep pace.

        Next to live cameras, recordings are processed in full, whenever there is time.
        """
        return self._parts[name].live or not self._has_live

    def _take_time(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            live = self._parts[frame.camera_id].live
            before_s = self._newest_s.get(live, frame.time_s)
            newest_s = self._newest_s[live] = max(before_s, frame.time_s)
            passed_s = min(newest_s - before_s, _LEAP_S)
            self._video_s[live] = self._video_s.get(live, 0.0) + passed_s
            self.progress.video_s = max(self._video_s.values())

    def _use_level(self) -> None:
        level = self._load.level
        for part in self._parts.values():
            part.selector.crops_per_track = level.crops_per_track
        self.progress.depth = level.depth
        self.progress.depth_name = self._embedder.depth_name(level.depth)
        self.progress.crops_per_track = level.crops_per_track
        self.progress.keep_one_in = level.keep_one_in

    def _count(self, frames: Sequence[Frame]) -> None:
        metrics, progress = self._metrics, self.progress
        assert metrics is not None
        for frame in frames:
            metrics.frames.labels(frame.camera_id).inc()
        metrics.depth.set(progress.depth)
        metrics.crops_per_track.set(progress.crops_per_track)
        metrics.identities.set(progress.identities)
        for status in self._cameras.statuses():
            name = status.camera_id
            metrics.camera_up.labels(name).set(status.state == "running")
            metrics.people.labels(name).set(progress.people.get(name, 0))
            dropped = status.frames_dropped + progress.skipped[name]
            metrics.frames_dropped.labels(name).inc(dropped - self._dropped_before[name])
            self._dropped_before[name] = dropped
            metrics.reconnects.labels(name).inc(status.reconnects - self._reconnects_before[name])
            self._reconnects_before[name] = status.reconnects

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the time spent to a stage, unless it fails."""
        start = self._clock()
        yield
        spent_ms = 1000 * (self._clock() - start)
        self.progress.stage_ms[stage] += spent_ms  # type: ignore[assignment]
        # Rounds without frames would hide the cost of frames.
        if self._metrics is not None and stage != "read" and self._has_frames:
            self._metrics.stage_ms.labels(stage).observe(spent_ms)

    def _named(self, frame: Frame, update: TrackUpdate) -> SeenFrame:
        number = self._parts[frame.camera_id].number
        people = []
        for person in update.people:
            person_id, verdict = self._book.who(number, track_number(self._run, person.track_id))
            track = self._open.get((frame.camera_id, person.track_id))
            answer = None if track is None else track.answer
            if answer is not None and answer.person_id != person_id:
                answer = None
            people.append(
                NamedBox(
                    track_id=person.track_id,
                    box_xyxy=_plain_box(person.box_xyxy),
                    person_id=person_id,
                    verdict=verdict,
                    probability=None if answer is None else answer.probability,
                    is_new=answer is not None and _is_enrolment(answer),
                )
            )
        return SeenFrame(frame=frame, people=tuple(people))

    def _trouble(self, name: str, error: Exception) -> None:
        """Count and log an error of one frame, track or sighting; the watch continues."""
        self.progress.failures[name] += 1
        if self.progress.failures[name] % _LOG_EVERY == 1:
            kind = "" if isinstance(error, AdlnError) else f"{type(error).__name__}: "
            _log.error(
                "camera %s: a frame or track could not be used (%d so far): %s",
                name,
                self.progress.failures[name],
                public_text(f"{kind}{error}"),
            )


def _is_enrolment(answer: Answer) -> bool:
    """Whether a person was enrolled from this very track."""
    return answer.verdict == "unknown" and answer.person_id is not None


def _plain_box(box: NDArray[np.floating]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(float(side), 2) for side in box)
    return left, top, right, bottom


def _why(answer: Answer) -> dict[str, Any]:
    """The fields of a sighting that explain an answer."""
    why = answer.why
    # Leave out the person named by the answer, if another one is nearest.
    others = [one for one in why.runners_up if one.person_id != answer.person_id]
    return {
        "score": None if why.score is None else round(why.score, 4),
        "threshold": None if why.threshold is None else round(why.threshold, 4),
        "runner_up_id": others[0].person_id if others else None,
        "runner_up_score": round(others[0].score, 4) if others else None,
        "reason": why.reason[:1000],
    }


@contextmanager
def stopping_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` on Ctrl-C, SIGTERM and, unless ignored (`nohup`), SIGHUP; a second one ends."""

    def ask(number: int, _: object) -> None:
        signal.signal(number, earlier[number])
        stop()

    earlier: dict[int, Any] = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    }
    for number in earlier:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
