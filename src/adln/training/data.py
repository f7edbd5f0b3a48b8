"""The training split in memory, as uint8.

12,936 crops of 256x128 px take 1.3 GB.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.datasets.loading import load_crops
from adln.datasets.split import Split, identity_labels
from adln.errors import DatasetError
from adln.training.imitation import load_teacher_embeddings

UNLABELLED = -1


@dataclass(frozen=True)
class TrainingData:
    """Crops for training, (N, H, W, 3) uint8 RGB, and their identities, (N,) int64 in 0..K-1.

    Unlabelled crops have -1 and come last; K is at least 1. The fingerprint is a digest of file
    names, persons and the teacher's embeddings, `pictures` one of the crops ("" if the fingerprint
    has it). `teacher_embeddings` (N, T) float32 of unit length are another network's, in
    `teacher_space` ("" if unknown); None without a teacher, or with one that embeds crops during
    training. `cameras` (N,) int64 are -1 of unlabelled crops; None if unknown.
    """

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int
    fingerprint: str
    teacher_embeddings: NDArray[np.float32] | None = None
    teacher_space: str = ""
    pictures: str = ""
    cameras: NDArray[np.int64] | None = None

    @property
    def labelled(self) -> int:
        """Number of labelled crops, which come first."""
        return int(np.count_nonzero(self.labels != UNLABELLED))


def join_splits(splits: Sequence[Split]) -> Split:
    """Join the training splits of several data sets; their persons and cameras stay distinct."""
    if len(splits) == 1:
        return splits[0]
    return Split(
        name=splits[0].name,
        paths=tuple(path for split in splits for path in split.paths),
        person_ids=_apart([split.person_ids for split in splits]),
        camera_ids=_apart([split.camera_ids for split in splits]),
    )


def _apart(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Ids of all parts in one, numbered from 0; those of different parts differ."""
    numbered, count = [], 0
    for ids in parts:
        labels, known = identity_labels(ids)
        numbered.append(labels + count)
        count += len(known)
    return np.concatenate(numbered)


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Positions of at most `most` of `count` rows, spaced evenly from the first to the last."""
    return np.rint(np.linspace(0, count - 1, min(count, most))).astype(np.int64)


def load_training_data(
    split: Split,
    *,
    height_px: int,
    width_px: int,
    teacher: Path | None = None,
    unlabelled: Sequence[Path] = (),
    on_progress: Callable[[int], None] | None = None,
) -> TrainingData:
    """Read a split into memory.

    `teacher` is a feature file with another network's embeddings of the same pictures, `unlabelled`
    are pictures of unlabelled people on which to imitate it. `on_progress` gets the number of crops
    read since the last call.

    Raises:
        DatasetError: the split is empty or has a single person, or the teacher's file does not
            fit it.
        ImageError: a picture is missing or corrupt; the message names it.
    """
    if len(split) + len(unlabelled) == 0:
        raise DatasetError(
            "the training split is empty. `adln data check` on the same folder says what it "
            "expects."
        )
    labels, persons = identity_labels(split.person_ids)
    if len(persons) < 2 and not unlabelled:
        raise DatasetError(
            f"the training split has only person {persons[0]}; re-identification needs at least 2"
        )
    if unlabelled:
        more = np.full(len(unlabelled), UNLABELLED, np.int64)
        labels = np.concatenate((labels, more))
        split = Split(
            split.name,
            (*split.paths, *unlabelled),
            np.concatenate((split.person_ids, more)),
            np.concatenate((split.camera_ids, more)),
        )
    embeddings, space = None, ""
    if teacher is not None:
        embeddings, space = load_teacher_embeddings(teacher, split)
    crops = load_crops(split.paths, height_px=height_px, width_px=width_px, on_progress=on_progress)
    digest = hashlib.sha256(labels.tobytes())
    for path in split.paths:
        digest.update(os.fsencode(path.name))
    if embeddings is not None:
        digest.update(embeddings.tobytes())
    fingerprint = digest.hexdigest()[:16]
    pictures = hashlib.sha256(crops.data).hexdigest()[:16]
    return TrainingData(
        crops,
        labels,
        max(1, len(persons)),
        fingerprint,
        embeddings,
        space,
        pictures,
        split.camera_ids,
    )
