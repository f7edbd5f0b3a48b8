"""Identity metrics of tracking, within and across cameras.

Implements IDF1, IDP and IDR (Ristani et al., "Performance Measures and a Data Set for
Multi-Target, Multi-Camera Tracking", 2016): true and predicted identities are paired one to one,
once for all frames of all cameras, such that as many boxes as possible agree. A person who gets a
new id at each camera, or after each absence, is counted as right for one of these ids only. Also
implements the id switches of CLEAR MOT (Bernardin and Stiefelhagen, 2008), within a camera.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from adln.boxes import iou
from adln.errors import EvaluationError
from adln.evaluation.assignment import best_assignment


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityBoxes:
    """Boxes with identities, a row for each person in each frame of each camera.

    Frames, cameras and identities, the same for a person at all cameras, are (N,) integers;
    `boxes_xyxy` (N, 4) are left, top, right, bottom.

    Raises:
        EvaluationError: Wrong shapes or types, a box is not finite or inverted, or an identity has
            two boxes in one frame of one camera.
    """

    frames: NDArray[np.integer]
    camera_ids: NDArray[np.integer]
    identities: NDArray[np.integer]
    boxes_xyxy: NDArray[np.floating]

    def __post_init__(self) -> None:
        count = len(self.frames)
        for name in ("frames", "camera_ids", "identities"):
            column = np.asarray(getattr(self, name))
            if column.shape != (count,) or not np.issubdtype(column.dtype, np.integer):
                raise EvaluationError(
                    f"{name} must be {count} whole numbers, got {column.dtype} {column.shape}."
                )
        boxes = np.asarray(self.boxes_xyxy)
        if boxes.shape != (count, 4):
            raise EvaluationError(f"boxes_xyxy must be ({count}, 4), got {boxes.shape}.")
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
            raise EvaluationError(
                "boxes_xyxy must be finite, with left <= right and top <= bottom in every row."
            )
        keys = np.stack([self.camera_ids, self.frames, self.identities])
        unique, counts = np.unique(keys, axis=1, return_counts=True)
        if (counts > 1).any():
            camera, frame, identity = unique[:, counts > 1][:, 0]
            raise EvaluationError(
                f"Identity {identity} has several boxes in frame {frame} of camera {camera}; "
                "expected at most one. Keep the best one."
            )

    def of_camera(self, camera_id: int) -> "IdentityBoxes":
        """The rows of one camera."""
        mine = self.camera_ids == camera_id
        return IdentityBoxes(**{each.name: getattr(self, each.name)[mine] for each in fields(self)})

    def rows_by_frame(self) -> dict[tuple[int, int], list[int]]:
        """(Camera, frame) -> its rows, ascending."""
        rows: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row, moment in enumerate(zip(self.camera_ids, self.frames, strict=True)):
            rows[int(moment[0]), int(moment[1])].append(row)
        return rows


@dataclass(frozen=True, kw_only=True)
class IdentityScore:
    """Identity scores (IDF1, IDP, IDR); shares are in 0..1.

    The IDF1 is the share of true and predicted boxes together whose identities agree, the IDP that
    of predicted boxes, the IDR that of true ones. `pairs` are true identity -> the predicted one it
    is paired with, if they share a box.
    """

    idf1: float
    idp: float
    idr: float
    agreeing_boxes: int
    true_boxes: int
    predicted_boxes: int
    pairs: Mapping[int, int]


@dataclass(frozen=True, kw_only=True)
class IdentityMetrics:
    """Identity metrics with one pairing of identities for all cameras, and with one per camera.

    The latter allows a new id at each camera. `id_switches` are how often a person's predicted
    identity changed from one frame of a camera in which the person was found to the next.
    """

    overall: IdentityScore
    by_camera: Mapping[int, IdentityScore]
    id_switches: Mapping[int, int]

    @property
    def idf1(self) -> float:
        """IDF1 over all cameras."""
        return self.overall.idf1


def measure_identities(
    truth: IdentityBoxes, predicted: IdentityBoxes, *, min_iou: float = 0.5
) -> IdentityMetrics:
    """Measure how well predicted identities follow the true ones, within and across cameras.

    The boxes have the same numbers of frames and cameras. Those with an intersection over union of
    at least `min_iou`, above 0, may be the same person.

    Raises:
        EvaluationError: There are no true boxes, or ``min_iou`` is not in 0..1.
    """
    if len(truth.frames) == 0:
        raise EvaluationError("There are no true boxes; nothing can be measured.")
    cameras = np.unique(np.concatenate([truth.camera_ids, predicted.camera_ids])).tolist()
    by_camera = {
        camera: (truth.of_camera(camera), predicted.of_camera(camera)) for camera in cameras
    }
    return IdentityMetrics(
        overall=score_identities(truth, predicted, min_iou=min_iou),
        by_camera={
            camera: score_identities(*boxes, min_iou=min_iou) for camera, boxes in by_camera.items()
        },
        id_switches={
            camera: count_id_switches(*boxes, min_iou=min_iou)
            for camera, boxes in by_camera.items()
        },
    )


def score_identities(
    truth: IdentityBoxes, predicted: IdentityBoxes, *, min_iou: float = 0.5
) -> IdentityScore:
    """IDF1, IDP and IDR with one pairing for all frames and cameras; see `measure_identities`.

    Shares without any boxes are 0.
    """
    true_ids, true_rows = np.unique(truth.identities, return_inverse=True)
    predicted_ids, predicted_rows = np.unique(predicted.identities, return_inverse=True)
    shared = np.zeros((len(true_ids), len(predicted_ids)), np.int64)
    for mine, theirs, overlap in _frames_of(truth, predicted):
        rows, columns = np.nonzero(overlap >= _checked(min_iou))
        shared[true_rows[mine[rows]], predicted_rows[theirs[columns]]] += 1
    rows, columns = best_assignment(shared)
    agreeing = int(shared[rows, columns].sum())
    num_true, num_predicted = len(truth.frames), len(predicted.frames)
    return IdentityScore(
        idf1=2 * agreeing / max(num_true + num_predicted, 1),
        idp=agreeing / max(num_predicted, 1),
        idr=agreeing / max(num_true, 1),
        agreeing_boxes=agreeing,
        true_boxes=num_true,
        predicted_boxes=num_predicted,
        pairs={
            int(true_ids[row]): int(predicted_ids[column])
            for row, column in zip(rows, columns, strict=True)
            if shared[row, column] > 0
        },
    )


def count_id_switches(
    truth: IdentityBoxes, predicted: IdentityBoxes, *, min_iou: float = 0.5
) -> int:
    """Count how often a person's predicted identity changes, in one camera's frames.

    In each frame, as many pairs of the previous frame as possible are kept if their boxes still
    overlap enough; among such pairings, the one with most pairs counts, and among those, the one
    with most overlap (CLEAR MOT). For `min_iou` see `measure_identities`.

    Raises:
        EvaluationError: ``min_iou`` is not in 0..1, or the boxes are of several cameras.
    """
    cameras = np.unique(np.concatenate([truth.camera_ids, predicted.camera_ids]))
    if len(cameras) > 1:
        raise EvaluationError(
            f"Id switches are counted camera by camera, got boxes of cameras {cameras.tolist()}."
        )
    last: dict[int, int] = {}
    switches = 0
    for mine, theirs, overlap in _frames_of(truth, predicted):
        fits = overlap >= _checked(min_iou)
        true_ids, predicted_ids = truth.identities[mine], predicted.identities[theirs]
        # Lexicographic weights: one more pair of a kind outweighs everything of the later kinds.
        most = min(len(mine), len(theirs)) + 1
        kept = np.array([[last.get(int(t)) == int(p) for p in predicted_ids] for t in true_ids])
        worth = overlap + most + most * (most + 1) * kept
        rows, columns = best_assignment(np.where(fits, worth, 0.0))
        for row, column in zip(rows, columns, strict=True):
            if not fits[row, column]:
                continue
            identity, found = int(true_ids[row]), int(predicted_ids[column])
            switches += last.get(identity, found) != found
            last[identity] = found
    return switches


def _frames_of(
    truth: IdentityBoxes, predicted: IdentityBoxes
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]]:
    """Rows of truth and prediction of each frame that has both, in order of time."""
    true_boxes = np.asarray(truth.boxes_xyxy, dtype=np.float64)
    predicted_boxes = np.asarray(predicted.boxes_xyxy, dtype=np.float64)
    true_rows, predicted_rows = truth.rows_by_frame(), predicted.rows_by_frame()
    for moment in sorted(true_rows.keys() & predicted_rows.keys()):
        mine, theirs = np.array(true_rows[moment]), np.array(predicted_rows[moment])
        yield mine, theirs, iou(true_boxes[mine], predicted_boxes[theirs])


def _checked(min_iou: float) -> float:
    if not 0 < min_iou <= 1:
        raise EvaluationError(f"min_iou must be above 0 and at most 1, got {min_iou}.")
    return min_iou
