"""A bridge: maps embeddings of one network to those of its successor, without pictures.

Galleries store embeddings but usually no pictures. When a network is replaced by one that shares
its space, stored embeddings remain comparable, but do not improve. A bridge is an affine map fitted
on crops that both networks have embedded. Its target is the new network's mean embedding of each
*person* (cluster of tracks), not of each crop. So it also transfers some of what the new network
has learned: differences between people are kept, variation within a person is reduced.

Source: Hoerl and Kennard 1970, "Ridge regression", with the identity in place of zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.atomic import atomic_write
from adln.embeddings import unit_length
from adln.errors import SettingsError
from adln.matching.array_file import content_id, pack, unpack

FORMAT = "adln-bridge-1"
ENDING = ".bridge.npz"
"""Ending of the bridge file beside a network, which maps its predecessor's embeddings to it."""
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths of the penalty towards the identity, as multiples of the embeddings' mean variance."""
_HELD_OUT = 5  # one group in this many is held out to choose the strength
# Loss of cosine to the target that is accepted for a weaker penalty, which separates people better.
# Chosen on half of the persons of CUHK01, with 96 to 1,452 crops.
_GIVEN_UP = 0.015
_ARRAYS = ("mean", "matrix", "offset")
_WORDS = ("format", "source", "target", "space", "fitted_on")


@dataclass(frozen=True, eq=False, kw_only=True)
class Bridge:
    """Maps a network's embeddings to its successor's; see `fit_bridge`.

    Attributes:
        source: digest and depth of the old network, as in `exit_name`.
        target: digest and depth of the new network.
        space: their common space.
        fitted_on: what it was fitted on, for display.
        mean: (D,) mean of the old embeddings.
        matrix: (D, D).
        offset: (D,) mean of the new embeddings.
        format: version of the file format.
    """

    source: str
    target: str
    space: str
    fitted_on: str
    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]
    format: str = FORMAT

    @property
    def dim(self) -> int:
        """D, length of an embedding."""
        return len(self.mean)

    @property
    def id(self) -> str:
        """16 hexadecimal digits that identify this bridge."""
        return content_id(*_parts(self))

    def apply(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map embeddings. The result of each does not depend on the others.

        Args:
            embeddings: (N, D) of unit length, of the old network.

        Returns:
            (N, D) float32 of unit length.

        Raises:
            SettingsError: the shapes do not match.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise SettingsError(
                f"This bridge needs embeddings of shape (N, {self.dim}), got {embeddings.shape}; "
                "it belongs to another network."
            )
        centred = embeddings.astype(np.float32) - self.mean
        if len(centred):
            # Row by row: matrix products round differently depending on the number of rows.
            centred = np.stack([self.matrix @ row for row in centred])
        return unit_length(centred + self.offset)


def exit_name(digest: str, depth: int) -> str:
    """Identifier of a network's exit in bridges."""
    return f"{digest}:{depth}"


def fit_bridge(
    old: NDArray[np.float32],
    new: NDArray[np.float32],
    groups: NDArray[np.int64],
    tracks: NDArray[np.int64],
    *,
    source: str,
    target: str,
    space: str = "",
    fitted_on: str = "",
) -> Bridge:
    """Fit a bridge. All tracks have the same weight, whatever their length.

    The strength of the penalty towards the identity is chosen on every fifth group, which is held
    out of the compared fits.

    Args:
        old: (N, D) of unit length, by the old network.
        new: (N, D) of unit length, of the same crops by the new network.
        groups: (N,) groups of crops that seem to show one person.
        tracks: (N,) tracks of the crops; each track lies within one group.
        source: see `Bridge`.
        target: see `Bridge`.
        space: see `Bridge`.
        fitted_on: see `Bridge`.

    Raises:
        SettingsError: there are no crops.
    """
    if len(old) == 0:
        raise SettingsError("A bridge needs crops of tracks; there are none.")
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    weights = 1 / np.unique(tracks, return_inverse=True, return_counts=True)[2].astype(np.float64)
    weights = weights[np.unique(tracks, return_inverse=True)[1].reshape(-1)]
    sums = np.zeros((numbers.max() + 1, new.shape[1]))
    np.add.at(sums, numbers, weights[:, np.newaxis] * new)
    wanted = unit_length(sums)[numbers].astype(np.float64)
    rows = old.astype(np.float64)
    is_judging = numbers % _HELD_OUT == 0
    strength = STRENGTHS[len(STRENGTHS) // 2]
    if is_judging.any() and not is_judging.all():
        strength = _best_strength(rows, wanted, weights, is_judging)
    mean, matrix, offset = _Ridge(rows, wanted, weights).solve(strength)
    return Bridge(
        source=source,
        target=target,
        space=space,
        fitted_on=fitted_on,
        mean=mean.astype(np.float32),
        matrix=matrix.astype(np.float32),
        offset=offset.astype(np.float32),
    )


def _best_strength(
    rows: NDArray[np.float64],
    wanted: NDArray[np.float64],
    weights: NDArray[np.float64],
    is_judging: NDArray[np.bool_],
) -> float:
    """The smallest strength with which held-out people come close to their targets."""
    ridge = _Ridge(rows[~is_judging], wanted[~is_judging], weights[~is_judging])

    def nearness(strength: float) -> float:
        mean, matrix, offset = ridge.solve(strength)
        carried = unit_length((rows[is_judging] - mean) @ matrix.T + offset)
        cosines = np.vecdot(carried, wanted[is_judging])
        return float(np.average(cosines, weights=weights[is_judging]))

    reached = {strength: nearness(strength) for strength in STRENGTHS}
    least = max(reached.values()) - _GIVEN_UP
    return min(strength for strength, cosine in reached.items() if cosine >= least)


class _Ridge:
    """Weighted ridge regression from (N, D) rows to (N, D) wanted, shrunk towards the identity."""

    def __init__(
        self,
        rows: NDArray[np.float64],
        wanted: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> None:
        self._mean = np.average(rows, axis=0, weights=weights)
        self._offset = np.average(wanted, axis=0, weights=weights)
        centred = rows - self._mean
        weighted = centred * weights[:, np.newaxis]
        self._square = weighted.T @ centred
        self._missing = weighted.T @ (wanted - self._offset - centred)

    def solve(
        self, strength: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Mean (D,), matrix (D, D) and offset (D,)."""
        eye = np.eye(len(self._square))
        # If all crops are equal, the variance is 0.
        held = self._square + (strength * np.trace(self._square) / len(eye) + 1e-12) * eye
        matrix = eye + np.linalg.solve(held, self._missing).T
        return self._mean, matrix, self._offset


def bridge_bytes(bridge: Bridge) -> bytes:
    """Serialise a bridge as .npz."""
    return pack(*_parts(bridge))


def parse_bridge(content: bytes, *, name: str) -> Bridge:
    """Parse the output of `bridge_bytes`.

    Args:
        content: content of the file.
        name: its name, for messages.

    Raises:
        SettingsError: it is damaged or of another version.
    """
    return unpack(Bridge, content, _ARRAYS, format_=FORMAT, kind="a bridge", name=name)


def bridge_path(network: Path) -> Path:
    """Path of the bridge to a network, beside its file."""
    return network.with_name(network.name + ENDING)


def write_bridge(bridge: Bridge, network: Path) -> Path:
    """Write a bridge beside the new network's file.

    Raises:
        SettingsError: it cannot be written.
    """
    path = bridge_path(network)
    with atomic_write(path, raises=SettingsError) as file:
        file.write(bridge_bytes(bridge))
    return path


def read_bridge(network: Path, targets: Sequence[str]) -> Bridge:
    """Read the bridge beside a network.

    Args:
        network: file of the network.
        targets: its exits, by `exit_name`.

    Raises:
        SettingsError: there is none, it is damaged, or it belongs to another network.
    """
    path = bridge_path(network)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SettingsError(
            f"{path}: there is no such bridge. `adln adapt ... --out` writes one beside a network "
            "if it improves the search in stored embeddings; where pictures are stored, `adln "
            "gallery renew` embeds them again."
        ) from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror or error}).") from error
    bridge = parse_bridge(content, name=str(path))
    if bridge.target not in targets:
        raise SettingsError(
            f"{path}: belongs to network {bridge.target[:12]}, not to {network} "
            f"({', '.join(target[:12] for target in targets)}). Use the file that came with this "
            "network."
        )
    return bridge


def _parts(bridge: Bridge) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    return (
        {name: getattr(bridge, name) for name in _WORDS},
        {name: getattr(bridge, name) for name in _ARRAYS},
    )
