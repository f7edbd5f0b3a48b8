"""HOTA, IDF1 and id switches by TrackEval, and who keeps the number after a gap.

TrackEval's metrics are called on arrays. Install it as `pip install --no-deps trackeval tabulate`:
its dependencies, which only its plots need, bring a second OpenCV that overwrites the first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from benchmarks.tracking_scenes import TrackedSequence
from numpy.typing import NDArray

from adln.boxes import iou
from adln.cameras.mot_files import MotBoxes
from adln.evaluation.assignment import best_assignment

MEASURES = ("HOTA", "AssA", "DetA", "IDF1", "MOTA", "IDSW")
_MIN_IOU = 0.5
# Of the frames after a gap, these tell whose number somebody has.
_SETTLED_S = 1.5
_FAMILIES = {
    "HOTA": "HOTA",
    "AssA": "HOTA",
    "DetA": "HOTA",
    "IDF1": "Identity",
    "MOTA": "CLEAR",
    "IDSW": "CLEAR",
}


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Somebody was out of sight for a while.

    Attributes:
        seconds: from the last frame in which enough was seen to the next one.
        kept: whether the number was the same before and after; False also if there was none.
        stolen: whether the number after it had been somebody else's before.
    """

    seconds: float
    kept: bool
    stolen: bool


class Measures:
    """Adds up sequences, as the MOTChallenge does.

    Raises:
        ImportError: TrackEval is not installed.
    """

    def __init__(self) -> None:
        metrics: Any = import_module("trackeval.metrics")
        quiet = {"PRINT_CONFIG": False}
        self._metrics = {
            "HOTA": metrics.HOTA(),
            "Identity": metrics.Identity(quiet),
            "CLEAR": metrics.CLEAR(quiet),
        }
        self._results: dict[str, dict[str, Any]] = {name: {} for name in self._metrics}

    def add(self, sequence: TrackedSequence, result: MotBoxes) -> None:
        """Take in one result."""
        data = _as_trackeval(sequence, result)
        for name, metric in self._metrics.items():
            self._results[name][sequence.name] = metric.eval_sequence(data)

    def combined(self) -> dict[str, float]:
        """The measures over all sequences; shares in percent."""
        values = {
            name: metric.combine_sequences(self._results[name])
            for name, metric in self._metrics.items()
        }
        return {
            measure: float(np.mean(values[family][measure])) * (1 if measure == "IDSW" else 100)
            for measure, family in _FAMILIES.items()
        }


def gaps(sequence: TrackedSequence, result: MotBoxes) -> list[Gap]:
    """How each time that somebody was out of sight ended."""
    number_of: dict[tuple[int, int], int] = {}
    for frame in range(1, sequence.num_frames + 1):
        true, said = sequence.truth.of_frame(frame), result.of_frame(frame)
        if not len(true) or not len(said):
            continue
        overlaps = iou(sequence.truth.boxes_xyxy[true], result.boxes_xyxy[said])
        for row, column in zip(*best_assignment(overlaps), strict=True):
            if overlaps[row, column] >= _MIN_IOU:
                person = int(sequence.truth.ids[true[row]])
                number_of[person, frame] = int(result.ids[said[column]])
    found = []
    settled = round(_SETTLED_S * sequence.frames_per_s)
    for person in np.unique(sequence.truth.ids).tolist():
        frames = np.sort(sequence.truth.frames[sequence.truth.ids == person])
        for at in np.flatnonzero(np.diff(frames) > 1).tolist():
            last, back = int(frames[at]), int(frames[at + 1])
            before = _usual(number_of, person, range(last - settled, last + 1))
            after = _usual(number_of, person, range(back, back + settled + 1))
            others = {
                number
                for (other, frame), number in number_of.items()
                if other != person and frame < back
            }
            found.append(
                Gap(
                    seconds=(back - last) / sequence.frames_per_s,
                    kept=before is not None and before == after,
                    stolen=after is not None and after != before and after in others,
                )
            )
    return found


def _usual(number_of: dict[tuple[int, int], int], person: int, frames: range) -> int | None:
    seen = Counter(number_of[person, one] for one in frames if (person, one) in number_of)
    return max(seen, key=lambda number: seen[number]) if seen else None


def _as_trackeval(sequence: TrackedSequence, result: MotBoxes) -> dict[str, Any]:
    truth = sequence.truth
    frames = range(1, sequence.num_frames + 1)
    true_at = [truth.of_frame(frame) for frame in frames]
    said_at = [result.of_frame(frame) for frame in frames]
    true_ids, true_places = np.unique(truth.ids, return_inverse=True)
    said_ids, said_places = np.unique(result.ids, return_inverse=True)
    return {
        "num_timesteps": sequence.num_frames,
        "num_gt_ids": len(true_ids),
        "num_tracker_ids": len(said_ids),
        "num_gt_dets": len(truth),
        "num_tracker_dets": len(result),
        "gt_ids": [true_places[at] for at in true_at],
        "tracker_ids": [said_places[at] for at in said_at],
        "similarity_scores": [
            iou(truth.boxes_xyxy[true], result.boxes_xyxy[said])
            for true, said in zip(true_at, said_at, strict=True)
        ],
    }


def interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval (Student's t)."""
    stats: Any = import_module("scipy.stats")
    count = len(values)
    spread = float(np.std(values, ddof=1)) / count**0.5
    return float(np.mean(values)), float(stats.t.ppf(0.975, count - 1)) * spread


def share_interval(count: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson), 0 to 1."""
    stats: Any = import_module("scipy.stats")
    found = stats.binomtest(count, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
