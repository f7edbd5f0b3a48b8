"""Adapts embeddings to the cameras of a site, without labels and without training.

A network that has not seen a site's cameras gives the embeddings of one camera a common offset, and
those of one person a spread that depends on light and pose. Both can be measured on tracks alone
and removed: the mean of each camera is subtracted, and the directions in which crops of one track
vary are shortened. The result is scaled back to unit length. Up to that scale, each step is linear,
so stored embeddings, whose cameras are known, can be adapted, too.

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
# Shrinkage of the within-track covariance towards its mean variance.
_SHRINKAGE = 0.3
# A camera with fewer tracks than this uses the mean of all cameras.
FEWEST_TRACKS = 10
_SMALLEST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Method:
    """The steps of an adaptation.

    Attributes:
        name: for display.
        by_camera: whether each camera has its own mean; otherwise all share one.
        deviations: whether each component is divided by its standard deviation at the camera.
        whitening: strength of the within-track whitening, from 0 (none) to 1 (full).
    """

    name: str
    by_camera: bool
    deviations: bool = False
    whitening: float = 0.0

    @property
    def rescales(self) -> bool:
        """Whether it does more than subtract means."""
        return self.deviations or self.whitening > 0


@dataclass(frozen=True, eq=False)
class TrackedCrops:
    """N crops of tracks, from a tracker or a gallery.

    Attributes:
        embeddings: (N, D) of unit length, of one space.
        cameras: (N,) integers.
        tracks: (N,) integers; unique within a camera.
        time_s: (N,) seconds; None if unknown.
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
            raise SettingsError("Some embeddings are not finite; embed these crops again.")

    def __len__(self) -> int:
        return len(self.embeddings)

    def part(self, rows: NDArray[Any]) -> "TrackedCrops":
        """A subset of the crops."""
        return TrackedCrops(
            self.embeddings[rows],
            self.cameras[rows],
            self.tracks[rows],
            None if self.time_s is None else self.time_s[rows],
        )

    def track_numbers(self) -> NDArray[np.int64]:
        """(N,) track numbers from 0, unique across cameras."""
        if len(self) == 0:
            return np.zeros(0, np.int64)
        pairs = np.stack([self.cameras, self.tracks], axis=1)
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Adaptation:
    """A fitted adaptation; see `fit_adaptation`.

    Attributes:
        method: name of the method.
        space: the space or network it was fitted in; it applies only to embeddings of this.
        fitted_on: what it was fitted on, for display.
        cameras: (C,) cameras with their own mean, ascending.
        crops: (C,) number of crops in each mean.
        num_tracks: number of tracks it was fitted on.
        mean: (D,) for all other cameras.
        means: (C, D).
        deviation: (D,) for all other cameras; None without deviations.
        deviations: (C, D); None without deviations.
        matrix: (D, D), symmetric; None without whitening.
        format: version of the file format.
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
        """16 hexadecimal digits that identify this adaptation."""
        return content_id(_words(self), _arrays(self))

    def apply(
        self, embeddings: NDArray[np.floating], cameras: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Adapt embeddings. The result of each does not depend on the others.

        Args:
            embeddings: (N, D) of unit length, from the network.
            cameras: (N,) camera of each. Others than those fitted, such as -1 for "unknown", use
                the mean of all cameras.

        Returns:
            (N, D) float32 of unit length.

        Raises:
            SettingsError: the shapes do not match.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise SettingsError(
                f"This adaptation needs embeddings of shape (N, {self.dim}), got "
                f"{embeddings.shape}; it belongs to another network."
            )
        if cameras.shape != (len(embeddings),):
            raise SettingsError(
                f"{len(embeddings)} embeddings need {len(embeddings)} cameras, got {cameras.shape}."
            )
        at = np.searchsorted(self.cameras, cameras)
        known = at < len(self.cameras)
        known[known] = self.cameras[at[known]] == cameras[known]
        rows = np.where(known, at, len(self.cameras))
        centred = embeddings.astype(np.float32) - np.vstack([self.means, self.mean])[rows]
        if self.deviations is not None and self.deviation is not None:
            centred /= np.vstack([self.deviations, self.deviation])[rows]
        if self.matrix is not None:
            # Row by row: matrix products round differently depending on the number of rows.
            centred = np.stack([self.matrix @ row for row in centred]) if len(centred) else centred
        return unit_length(centred)


def fit_adaptation(
    crops: TrackedCrops, method: Method, *, space: str = "", fitted_on: str = ""
) -> Adaptation:
    """Fit an adaptation. All tracks have the same weight, whatever their length.

    Args:
        crops: crops of the site's tracks.
        method: the steps to fit.
        space: the space of the embeddings.
        fitted_on: what the crops are, for display.

    Raises:
        SettingsError: there are no crops.
    """
    if len(crops) == 0:
        raise SettingsError("An adaptation needs crops of tracks; there are none.")
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
    # A constant component carries no information and must not be amplified.
    deviation: NDArray[np.float64] = np.sqrt(
        np.maximum(variance, 1e-2 * variance.mean() + _SMALLEST)
    )
    return deviation


def _whitening(
    rows: NDArray[np.float64], numbers: NDArray[np.int64], strength: float
) -> NDArray[np.float64]:
    """Within-track covariance to the power -strength / 2: (D, D), symmetric."""
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
    """Serialise an adaptation as .npz."""
    return pack(_words(adaptation), _arrays(adaptation))


def parse_adaptation(content: bytes, *, name: str) -> Adaptation:
    """Parse the output of `adaptation_bytes`.

    Args:
        content: content of the file.
        name: its name, for messages.

    Raises:
        SettingsError: it is damaged or of another version.
    """
    return unpack(Adaptation, content, _ARRAYS, format_=FORMAT, kind="an adaptation", name=name)
