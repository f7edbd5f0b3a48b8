"""The training split in memory, ready for the device.

All crops as bytes: 12,936 crops of 256x128 px take 1.3 GB.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.datasets.loading import load_crops
from adln.datasets.split import Split, identity_labels
from adln.errors import DatasetError
from adln.training.imitation import load_lessons


@dataclass(frozen=True)
class TrainingData:
    """Crops to train on.

    Attributes:
        crops: (N, H, W, 3) uint8 RGB.
        labels: (N,) int64 identities, 0..K-1.
        num_classes: K.
        fingerprint: changes with the files and persons of the split, and with the lessons.
        lessons: (N, T) float32 of unit length, what another network says of the crops; None
            without a teacher.
    """

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int
    fingerprint: str
    lessons: NDArray[np.float32] | None = None


def load_training_data(
    split: Split,
    *,
    height_px: int,
    width_px: int,
    teacher: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> TrainingData:
    """Read a split into memory.

    Args:
        split: with at least two persons.
        height_px: height H of the crops.
        width_px: width W of the crops.
        teacher: feature file with another network's embeddings of the same pictures.
        on_progress: told how many crops were read since the last call.

    Raises:
        DatasetError: the split is empty or has a single person, or the teacher's file does not
            fit it.
        ImageError: a picture is missing or corrupt; the message names it.
    """
    if len(split) == 0:
        raise DatasetError(
            "the training split is empty: nothing to learn from. "
            "`adln data check` on the same folder says what it expects."
        )
    labels, persons = identity_labels(split.person_ids)
    if len(persons) < 2:
        raise DatasetError(
            f"the training split has only person {persons[0]}; re-identification needs at least 2"
        )
    lessons = None if teacher is None else load_lessons(teacher, split)
    crops = load_crops(split.paths, height_px=height_px, width_px=width_px, on_progress=on_progress)
    digest = hashlib.sha256(labels.tobytes())
    for path in split.paths:
        digest.update(path.name.encode())
    if lessons is not None:
        digest.update(lessons.tobytes())
    return TrainingData(crops, labels, len(persons), digest.hexdigest()[:16], lessons)
