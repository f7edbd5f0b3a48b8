"""A bridge from the embeddings of one network to those of its successor, without a picture.

A gallery keeps embeddings, and mostly no pictures. When a network takes the place of another whose
space it shares, what is stored can be compared with its embeddings, but is no better than it was.
A bridge is a linear map, with a shift, that was fitted where both networks had embedded the same
crops: to what the new one sees of each *person* as far as clusters of tracks tell, not of each
crop. So it is a little of what the new network has learned, too: what tells people apart there is
kept, what changes within one person is not.

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
"""The file beside a network that leads to it from its predecessor is called like it, with this."""
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""How strongly the map is held at the identity, as multiples of the embeddings' mean variance."""
_HELD_OUT = 5  # of so many groups one chooses the strength
# So much of the cosine to where people should be is given up for a map that is held less: it tells
# people apart better. Chosen on half of the persons of CUHK01, with 96 to 1,452 crops.
_GIVEN_UP = 0.015
_ARRAYS = ("mean", "matrix", "offset")
_WORDS = ("format", "source", "target", "space", "fitted_on")


@dataclass(frozen=True, eq=False, kw_only=True)
class Bridge:
    """From a network's embeddings to its successor's; see `fit_bridge`.

    Attributes:
        source: digest and depth of the old network, as `exit_name` puts them together.
        target: likewise of the new one.
        space: that both lie in.
        fitted_on: what it was fitted on, in plain words.
        mean: (D,) of the old embeddings.
        matrix: (D, D).
        offset: (D,), the mean of the new ones.
        format: version of the file.
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
        """16 hexadecimal digits that name exactly this bridge."""
        return content_id(*_parts(self))

    def apply(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Carry embeddings over. Each is computed by itself, whatever stands beside it.

        Args:
            embeddings: (N, D) of unit length, of the old network.

        Returns:
            (N, D) float32 of unit length.

        Raises:
            SettingsError: the shapes do not fit.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise SettingsError(
                f"This bridge is for embeddings of shape (N, {self.dim}), got {embeddings.shape}; "
                "it belongs to another network."
            )
        centred = embeddings.astype(np.float32) - self.mean
        if len(centred):
            # One row at a time: a product of many rows rounds otherwise than one of few.
            centred = np.stack([self.matrix @ row for row in centred])
        return unit_length(centred + self.offset)


def exit_name(digest: str, depth: int) -> str:
    """What bridges call the exit of a network."""
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
    """Fit the map. A long track counts as much as a short one.

    How strongly it is held at the identity is chosen by every fifth group, which is left out of the
    fits that are compared.

    Args:
        old: (N, D) of unit length, by the old network.
        new: (N, D) of unit length, of the same crops by the new one.
        groups: (N,) which crops seem to show one person.
        tracks: (N,) of the crops; all of one track are of one group.
        source: see `Bridge`.
        target: see `Bridge`.
        space: see `Bridge`.
        fitted_on: see `Bridge`.

    Raises:
        SettingsError: there are no crops.
    """
    if len(old) == 0:
        raise SettingsError("A bridge is fitted to crops of tracks; there are none.")
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
    """The least strength by which people who were left out come near to where they should be."""
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
    """Weighted ridge regression of (N, D) wanted on (N, D) rows, towards the identity."""

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
        # Where all crops are one, there is nothing to divide by.
        held = self._square + (strength * np.trace(self._square) / len(eye) + 1e-12) * eye
        matrix = eye + np.linalg.solve(held, self._missing).T
        return self._mean, matrix, self._offset


def bridge_bytes(bridge: Bridge) -> bytes:
    """The content of a bridge's file: .npz."""
    return pack(*_parts(bridge))


def parse_bridge(content: bytes, *, name: str) -> Bridge:
    """Read what `bridge_bytes` gave.

    Args:
        content: of the file.
        name: what messages call it.

    Raises:
        SettingsError: the content is damaged, or of another version.
    """
    return unpack(Bridge, content, _ARRAYS, format_=FORMAT, kind="a bridge", name=name)


def bridge_path(network: Path) -> Path:
    """Where the bridge to a network lies: beside it."""
    return network.with_name(network.name + ENDING)


def write_bridge(bridge: Bridge, network: Path) -> Path:
    """Write a bridge beside the network that it leads to.

    Raises:
        SettingsError: the disk refuses.
    """
    path = bridge_path(network)
    with atomic_write(path, raises=SettingsError) as file:
        file.write(bridge_bytes(bridge))
    return path


def read_bridge(network: Path, targets: Sequence[str]) -> Bridge:
    """The bridge beside a network.

    Args:
        network: file of the network.
        targets: its exits, by `exit_name`.

    Raises:
        SettingsError: there is none, it is damaged, or it leads to another network.
    """
    path = bridge_path(network)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SettingsError(
            f"{path}: there is no such bridge. `adln adapt ... --out` writes one beside a network "
            "that finds people better among carried embeddings than among those as they are; where "
            "pictures are kept, `adln gallery renew` embeds them anew."
        ) from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror or error}).") from error
    bridge = parse_bridge(content, name=str(path))
    if bridge.target not in targets:
        raise SettingsError(
            f"{path}: leads to network {bridge.target[:12]}, not to {network} "
            f"({', '.join(target[:12] for target in targets)}). Put the file there that came with "
            "this network."
        )
    return bridge


def _parts(bridge: Bridge) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    return (
        {name: getattr(bridge, name) for name in _WORDS},
        {name: getattr(bridge, name) for name in _ARRAYS},
    )
