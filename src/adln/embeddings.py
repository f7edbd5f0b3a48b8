"""Embeddings: what every embedder promises, and the arithmetic between embeddings.

Implements the test features of Sec. III.B: features after batch norm, averaged with those of the
mirrored crop, compared by cosine distance.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adln.errors import ImageError, ModelFileError

# Features shorter than this count as all zero and stay so, instead of becoming noise of length 1.
_SHORTEST = 1e-12
_LEAST_SQUARE = 0.5  # of the length of an embedding: it is 1, 0 or NaN


class Embedder(Protocol):
    """Anything that turns person crops into embeddings, at one depth of the network or several."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that `embed` answers, ascending: (1, 2, 3, 4), or (2,) for a network cut there."""

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height H and width W in px of the crops that it takes: (256, 128) as in the paper."""

    @property
    def dim(self) -> int:
        """Length D of an embedding."""

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB: depth -> (N, D) float32 of unit length."""


def chosen_depth(depths: Sequence[int], depth: int | None, *, network: str | Path) -> int:
    """The depth at which a network is asked: the wanted one of `depths`, or the deepest if None.

    Raises:
        ModelFileError: it does not answer at that depth.
    """
    if depth is None:
        return depths[-1]
    if depth not in depths:
        raise ModelFileError(
            f"{network} has no depth {depth}; it has: {', '.join(map(str, depths))}."
        )
    return depth


def unit_length(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale each feature (..., D), of any float type, to Euclidean length 1.

    Returns:
        (..., D) float32. A feature of zeros stays zeros; one that holds a NaN becomes NaN.
    """
    # Half precision overflows when it squares; doubles keep their digits until the last step.
    features = features.astype(np.promote_types(features.dtype, np.float32), copy=False)
    lengths = np.sqrt(np.vecdot(features, features))[..., np.newaxis]
    embeddings: NDArray[np.floating] = features / np.maximum(lengths, _SHORTEST)
    return embeddings.astype(np.float32, copy=False)


def without_direction(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which embeddings (N, D) compare with nothing: those of zeros, or not finite. Returns (N,).

    Some networks give them for crops of one colour, such as those of a covered camera.
    """
    compares: NDArray[np.bool_] = np.vecdot(embeddings, embeddings) > _LEAST_SQUARE
    return ~compares


def require_direction(embeddings: NDArray[np.float32], *, what: str) -> None:
    """Raise an `ImageError`, about `what`, if one of embeddings (N, D) compares with nothing."""
    if without_direction(embeddings).any():
        raise ImageError(no_direction(what))


def no_direction(what: str) -> str:
    """The message about a crop whose embedding compares with nothing."""
    return (
        f"{what}: the network gives only zeros, or numbers that are not finite; a crop of one "
        "colour shows nobody."
    )


def flip_average(
    features: NDArray[np.floating], flipped_features: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Embeddings (N, D) of unit length from features (N, D) of crops and of their mirror images.

    The features are averaged as they leave batch norm, then scaled once. Scaling each of the two
    first would give another embedding.

    Source: Sec. III.B.
    """
    return unit_length((features + flipped_features) / 2)


def find_unusable(embeddings: NDArray[np.floating]) -> tuple[int, str] | None:
    """Find the first of embeddings (N, D) that cannot be compared.

    Returns:
        Its position and what it holds, in words; None if all are finite and none is zero.
    """
    lengths = np.sqrt(np.vecdot(embeddings, embeddings, dtype=np.float64))
    usable = np.isfinite(lengths) & (lengths > _SHORTEST)
    if usable.all():
        return None
    at = int(np.argmin(usable))
    return at, "nothing but zeros" if lengths[at] <= _SHORTEST else "NaN or infinite values"


def cosine_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float32]:
    """1 - cosine of the angle between each row of a (N, D) and each of b (M, D), of any length.

    Returns:
        (N, M) float32 in 0..2. For embeddings of unit length it is half the squared distance.
    """
    # Rounding can carry the cosine of equal rows a little above 1.
    distances: NDArray[np.float32] = 1 - unit_length(a) @ unit_length(b).T
    return distances.clip(0, 2)
