"""Examines a recording: does re-identification work here, and with which threshold?

No labels are needed: crops of one track show one person, and two tracks in one frame show two
people. If same-person scores do not exceed different-person scores, no threshold will help.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adln.cameras.detector import Detector, RememberingDetector
from adln.cameras.selection import TrackReport
from adln.errors import SettingsError
from adln.gallery.records import pool_track
from adln.pipeline.assembly import assemble
from adln.pipeline.watch_settings import ThresholdSettings, WatchSettings

MATCH_RATE, CANDIDATE_RATE = 0.01, 0.1
"""Share of searches for strangers that may return a match, or a candidate."""
_FEWEST_PAIRS = 20
# A threshold with fewer than this many pairs above it is taken from a fitted normal curve.
_PAIRS_BEYOND = 3
_HIGHEST_THRESHOLD = 0.98


@dataclass(frozen=True, eq=False, kw_only=True)
class Separation:
    """Scores at one depth: cosines of pooled crops, which is how the gallery compares tracks.

    Attributes:
        same: (S,) one half of a track's crops against the other half.
        different: (R,) two tracks seen in one frame.
    """

    same: NDArray[np.float64]
    different: NDArray[np.float64]

    @property
    def is_enough(self) -> bool:
        """Whether there are enough scores of both kinds for a result."""
        return min(len(self.same), len(self.different)) >= _FEWEST_PAIRS

    @property
    def in_order(self) -> float:
        """Share of pairs (same, different) in which the same-person score is higher (AUC)."""
        ranks = np.searchsorted(np.sort(self.different), self.same, side="left")
        return float(ranks.mean() / max(1, len(self.different)))

    def threshold(self, rate: float, gallery_size: int) -> float:
        """The score that a stranger exceeds in this share of searches of so many people.

        Raises:
            SettingsError: there are not enough different pairs.
        """
        if len(self.different) < _FEWEST_PAIRS:
            raise SettingsError(
                f"{len(self.different)} comparisons of people seen together are too few for a "
                f"threshold; at least {_FEWEST_PAIRS} are needed."
            )
        per_pair = 1 - (1 - rate) ** (1 / max(1, gallery_size))
        if per_pair * len(self.different) >= _PAIRS_BEYOND:
            return float(np.quantile(self.different, 1 - per_pair))
        normal = NormalDist(float(self.different.mean()), float(self.different.std()) or 1e-6)
        # Not below the observed quantile, in case the normal curve underestimates the tail.
        reached = float(np.quantile(self.different, 1 - _PAIRS_BEYOND / len(self.different)))
        return min(max(normal.inv_cdf(1 - per_pair), reached), _HIGHEST_THRESHOLD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Examination:
    """Findings about a recording.

    Attributes:
        tracks: number of tracks with at least one usable crop.
        most_together: most people in one frame.
        stage_ms: stage -> ms per frame.
        crop_ms: depth -> ms to embed a crop.
        video_s: length of the recording, in s.
        verdict: whether the network's outputs here equal those of the export, in words.
        detector: keeps the people found in the recording.
    """

    tracks: int
    without_crop: int
    most_together: int
    depths: Mapping[int, Separation]
    stage_ms: Mapping[str, float]
    crop_ms: Mapping[int, float]
    frames: int
    video_s: float
    depth_names: Mapping[int, str] = field(default_factory=dict)
    verdict: str = ""
    detector: Detector | None = None


class _Seen(NamedTuple):
    """The crops of a finished track."""

    embeddings: dict[int, NDArray[np.float32]]  # depth -> (N, D)
    qualities: NDArray[np.float64]


def examine(
    settings: WatchSettings,
    folder: Path,
    *,
    gallery_folder: Path | None = None,
    on_progress: Callable[[int, int], object] = lambda _done, _all: None,
) -> Examination:
    """Detect and track people in recordings, and compare their tracks.

    The gallery is empty and temporary: nobody is stored in it. `on_progress` is called after each
    round with the frames done and their total, 0 if unknown.

    Raises:
        SettingsError: the cameras are live.
        AdlnError: see `assemble`.
    """
    assembly = assemble(settings, folder, gallery_folder=gallery_folder)
    try:
        if assembly.live:
            raise SettingsError("`adln doctor` needs recordings; record the cameras for a while.")
        spent: dict[str, float] = defaultdict(float)
        together: set[tuple[str, int, int]] = set()
        tracks: dict[tuple[str, int], _Seen] = {}
        detector, embedder = RememberingDetector(assembly.detector), assembly.embedder
        all_frames = assembly.cameras.announced_frames
        frames = most = without = 0
        first_s, last_s = math.inf, -math.inf

        @contextmanager
        def timed(stage: str) -> Iterator[None]:
            start = time.perf_counter()
            yield
            spent[stage] += time.perf_counter() - start

        def take(reports: Sequence[TrackReport]) -> int:
            """Embed finished tracks; returns the number of those without a crop."""
            over = [report for report in reports if report.reason == "ended"]
            with timed("embed"):
                for report in over:
                    if report.crops:
                        images = np.stack([crop.image for crop in report.crops])
                        tracks[report.camera_id, report.track_id] = _Seen(
                            embedder.embed_all(images),
                            np.array([crop.quality for crop in report.crops]),
                        )
            return sum(not report.crops for report in over)

        rounds = assembly.cameras.rounds()
        while True:
            with timed("read"):
                round_ = next(rounds, None)
            if round_ is None:
                break
            with timed("detect"):
                found = detector.detect(round_)
            for frame, detections in zip(round_, found, strict=True):
                part = assembly.parts[frame.camera_id]
                with timed("track"):
                    update = part.tracker.update(detections, frame.time_s)
                with timed("select"):
                    reports = part.selector.update(frame, update)
                without += take(reports)
                ids = sorted(person.track_id for person in update.people)
                together |= {(frame.camera_id, a, b) for a, b in combinations(ids, 2)}
                most = max(most, len(ids))
                frames += 1
                first_s, last_s = min(first_s, frame.time_s), max(last_s, frame.time_s)
            on_progress(frames, all_frames)
        for part in assembly.parts.values():
            without += take(part.selector.end(part.tracker.finish(), last_s))
        return Examination(
            tracks=len(tracks),
            without_crop=without,
            most_together=most,
            depths={depth: _separate(tracks, together, depth) for depth in embedder.depths},
            depth_names={depth: embedder.depth_name(depth) for depth in embedder.depths},
            stage_ms={stage: 1000 * s / max(1, frames) for stage, s in spent.items()},
            crop_ms=embedder.measure_ms(),
            frames=frames,
            video_s=max(0.0, last_s - first_s),
            verdict=embedder.verdict,
            detector=detector,
        )
    finally:
        assembly.close()


def thresholds_of(examination: Examination, depth: int) -> ThresholdSettings:
    """Thresholds for a gallery with as many people as the recording has tracks.

    Raises:
        SettingsError: too few people were seen together.
    """
    scores = examination.depths[depth]
    size = max(1, examination.tracks)
    match = scores.threshold(MATCH_RATE, size)
    candidate = min(scores.threshold(CANDIDATE_RATE, size), match)
    return ThresholdSettings(match=round(match, 3), candidate=round(candidate, 3))


def _separate(
    tracks: Mapping[tuple[str, int], _Seen], together: set[tuple[str, int, int]], depth: int
) -> Separation:
    same = [
        _halves(seen.embeddings[depth], seen.qualities)
        for seen in tracks.values()
        if len(seen.qualities) >= 2
    ]
    pooled = {
        key: pool_track(seen.embeddings[depth], seen.qualities) for key, seen in tracks.items()
    }
    different = [
        float(pooled[camera, a] @ pooled[camera, b])
        for camera, a, b in sorted(together)
        if (camera, a) in pooled and (camera, b) in pooled
    ]
    return Separation(same=np.array(same, np.float64), different=np.array(different, np.float64))


def _halves(rows: NDArray[np.float32], qualities: NDArray[np.float64]) -> float:
    """Cosine of every second crop with the others."""
    return float(pool_track(rows[::2], qualities[::2]) @ pool_track(rows[1::2], qualities[1::2]))
