"""Adaptation of embeddings to the cameras of a site, without a label and without training.

A network that never saw a site's cameras gives all people under one camera something in common,
and gives one person's crops a spread that depends on light and pose. Both can be measured from
tracks alone and taken away: the mean of each camera is subtracted, and the directions in which the
crops of one track spread are made shorter. The result is scaled to unit length again. Each step is
linear up to that scale, so that stored embeddings, which know their camera, can be moved along.

`adln.matching.adaptation_gate` decides whether any of it helps.

Source: camera-specific normalisation of features, arXiv 2502.10195 (ICLR 2025); within-class
covariance normalisation, Hatch et al., "Within-Class Covariance Normalization for SVM-Based
Speaker Recognition", Interspeech 2006.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import SettingsError
from adln.matching.array_file import content_id, pack, unpack

FORMAT = "adln-adaptation-1"
# Share of the mean variance in the covariance within tracks: what few tracks cannot tell.
_SHRINKAGE = 0.3
# A camera with fewer tracks than this takes the mean of all cameras.
FEWEST_TRACKS = 10
_SMALLEST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is done to embeddings.

    Attributes:
        name: in plain words.
        by_camera: whether each camera has a mean of its own; else all have one in common.
        deviations: whether each number is divided by its deviation under the camera.
        whitening: how far the spread within tracks is evened out, from 0 (not at all) to 1.
    """

    name: str
    by_camera: bool
    deviations: bool = False
    whitening: float = 0.0

    @property
    def rescales(self) -> bool:
        """Whether more is done than to take means off."""
        return self.deviations or self.whitening > 0


@dataclass(frozen=True, eq=False)
class TrackedCrops:
    """N crops of tracks, as trackers and galleries have them.

    Attributes:
        embeddings: (N, D) of unit length, of one space.
        cameras: (N,) integers.
        tracks: (N,) integers; unique within a camera.
        time_s: (N,) seconds; None if not known.
    """

    embeddings: NDArray[np.float32]
    cameras: NDArray[np.int64]
    tracks: NDArray[np.int64]
    time_s: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        columns: list[NDArray[Any]] = [self.cameras, self.tracks]
        if self.time_s is not None:
            columns.append(self.time_s)
        count = len(self.embeddings)
        if self.embeddings.ndim != 2 or any(column.shape != (count,) for column in columns):
            raise SettingsError(
                "Expected (N, D) embeddings with (N,) cameras, tracks and times, got "
                f"{self.embeddings.shape} and {[column.shape for column in columns]}."
            )
        if not np.isfinite(self.embeddings).all():
            raise SettingsError("Some embeddings are not numbers; embed these crops again.")

    def __len__(self) -> int:
        return len(self.embeddings)

    def part(self, rows: NDArray[Any]) -> "TrackedCrops":
        """These crops alone."""
        return TrackedCrops(
            self.embeddings[rows],
            self.cameras[rows],
            self.tracks[rows],
            None if self.time_s is None else self.time_s[rows],
        )

    def track_numbers(self) -> NDArray[np.int64]:
        """(N,) numbers of tracks from 0, unique among all cameras."""
        if len(self) == 0:
            return np.zeros(0, np.int64)
        pairs = np.stack([self.cameras, self.tracks], axis=1)
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Adaptation:
    """What is taken off embeddings of a site; see `fit_adaptation`.

    Attributes:
        method: in plain words.
        space: the space or model that it was fitted in; only embeddings of it can be adapted.
        fitted_on: what it was fitted on, in plain words.
        cameras: (C,) those with a mean of their own, ascending.
        crops: (C,) crops that each mean was taken over.
        num_tracks: tracks that it was fitted on.
        mean: (D,) for all other cameras.
        means: (C, D).
        deviation: (D,) for all other cameras; None if numbers keep their scale.
        deviations: (C, D); None likewise.
        matrix: (D, D), symmetric; None without whitening.
        format: version of the file.
    """

    method: str
    space: str
    fitted_on: str
    cameras: NDArray[np.int64]
    crops: NDArray[np.int64]
    num_tracks: int
    mean: NDArray[np.float32]
    means: NDArray[np.float32]
    deviation: NDArray[np.float32] | None = None
    deviations: NDArray[np.float32] | None = None
    matrix: NDArray[np.float32] | None = None
    format: str = FORMAT

    @property
    def dim(self) -> int:
        """D, length of an embedding."""
        return len(self.mean)

    @property
    def id(self) -> str:
        """16 hexadecimal digits that name exactly this adaptation."""
        return content_id(_words(self), _arrays(self))

    def apply(
        self, embeddings: NDArray[np.floating], cameras: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Adapt embeddings. Each is computed by itself, whatever stands beside it.

        Args:
            embeddings: (N, D) of unit length, as the network gave them.
            cameras: (N,) camera of each. One that was not among those fitted, such as -1 for
                "not known", takes the mean of all.

        Returns:
            (N, D) float32 of unit length.

        Raises:
            SettingsError: the shapes do not fit.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise SettingsError(
                f"This adaptation is for embeddings of shape (N, {self.dim}), got "
                f"{embeddings.shape}; it belongs to another network."
            )
        if cameras.shape != (len(embeddings),):
            raise SettingsError(
                f"{len(embeddings)} embeddings need as many cameras, got {cameras.shape}."
            )
        at = np.searchsorted(self.cameras, cameras)
        known = at < len(self.cameras)
        known[known] = self.cameras[at[known]] == cameras[known]
        rows = np.where(known, at, len(self.cameras))
        centred = embeddings.astype(np.float32) - np.vstack([self.means, self.mean])[rows]
        if self.deviations is not None and self.deviation is not None:
            centred /= np.vstack([self.deviations, self.deviation])[rows]
        if self.matrix is not None:
            # One row at a time: a product of many rows rounds otherwise than one of few.
            centred = np.stack([self.matrix @ row for row in centred]) if len(centred) else centred
        return unit_length(centred)


def fit_adaptation(
    crops: TrackedCrops, method: Method, *, space: str = "", fitted_on: str = ""
) -> Adaptation:
    """Measure means and spread. A long track counts as much as a short one.

    Args:
        crops: of the site's tracks.
        method: what is to be done.
        space: the space of the embeddings.
        fitted_on: what the crops are, in plain words.

    Raises:
        SettingsError: there is no crop.
    """
    if len(crops) == 0:
        raise SettingsError("An adaptation is fitted to crops of tracks; there are none.")
    rows = crops.embeddings.astype(np.float64)
    numbers = crops.track_numbers()
    lengths = np.bincount(numbers)
    weights = 1 / lengths[numbers]
    cameras = np.unique(crops.cameras)
    enough = [
        camera
        for camera in cameras
        if len(np.unique(numbers[crops.cameras == camera])) >= FEWEST_TRACKS
    ]
    if not method.by_camera:
        enough = []
    mean = np.average(rows, axis=0, weights=weights)
    own = {camera: crops.cameras == camera for camera in enough}
    means = {
        camera: np.average(rows[mine], axis=0, weights=weights[mine])
        for camera, mine in own.items()
    }
    centred = rows - mean
    for camera, mine in own.items():
        centred[mine] = rows[mine] - means[camera]
    deviation, deviations = None, None
    if method.deviations:
        deviation = _deviation(centred, weights).astype(np.float32)
        of_cameras = [_deviation(centred[mine], weights[mine]) for mine in own.values()]
        deviations = np.array(of_cameras).reshape(-1, rows.shape[1]).astype(np.float32)
    matrix = None
    if method.whitening > 0:
        matrix = _whitening(rows, numbers, method.whitening).astype(np.float32)
    return Adaptation(
        method=method.name,
        space=space,
        fitted_on=fitted_on,
        cameras=np.array(enough, dtype=np.int64),
        crops=np.array([np.count_nonzero(mine) for mine in own.values()], dtype=np.int64),
        num_tracks=len(lengths),
        mean=mean.astype(np.float32),
        means=np.array(list(means.values())).reshape(-1, rows.shape[1]).astype(np.float32),
        deviation=deviation,
        deviations=deviations,
        matrix=matrix,
    )


def _deviation(centred: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    variance: NDArray[np.float64] = np.average(centred**2, axis=0, weights=weights)
    # A number that never changes tells nothing, and must not be blown up.
    deviation: NDArray[np.float64] = np.sqrt(
        np.maximum(variance, 1e-2 * variance.mean() + _SMALLEST)
    )
    return deviation


def _whitening(
    rows: NDArray[np.float64], numbers: NDArray[np.int64], strength: float
) -> NDArray[np.float64]:
    """The inverse root of the covariance within tracks, to a power: (D, D), symmetric."""
    lengths = np.bincount(numbers)
    sums = np.zeros((len(lengths), rows.shape[1]))
    np.add.at(sums, numbers, rows)
    within = (rows - (sums / lengths[:, np.newaxis])[numbers])[lengths[numbers] > 1]
    degrees = max(1, len(within) - int(np.count_nonzero(lengths > 1)))
    covariance = within.T @ within / degrees
    mean_variance = np.trace(covariance) / len(covariance) + _SMALLEST
    covariance = (1 - _SHRINKAGE) * covariance / mean_variance
    covariance += _SHRINKAGE * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    whitened: NDArray[np.float64] = (vectors * values ** (-strength / 2)) @ vectors.T
    return whitened


_ARRAYS = ("cameras", "crops", "mean", "means", "deviation", "deviations", "matrix")
_WORDS = ("format", "method", "space", "fitted_on", "num_tracks")


def _words(adaptation: Adaptation) -> dict[str, Any]:
    return {name: getattr(adaptation, name) for name in _WORDS}


def _arrays(adaptation: Adaptation) -> dict[str, NDArray[Any]]:
    arrays = {name: getattr(adaptation, name) for name in _ARRAYS}
    return {name: array for name, array in arrays.items() if array is not None}


def adaptation_bytes(adaptation: Adaptation) -> bytes:
    """The content of an adaptation's file: .npz."""
    return pack(_words(adaptation), _arrays(adaptation))


def parse_adaptation(content: bytes, *, name: str) -> Adaptation:
    """Read what `adaptation_bytes` gave.

    Args:
        content: of the file.
        name: what messages call it.

    Raises:
        SettingsError: the content is damaged, or of another version.
    """
    return unpack(Adaptation, content, _ARRAYS, format_=FORMAT, kind="an adaptation", name=name)
