"""Refits the last layer of a trained network to a teacher on a site's crops, in closed form.

The linear layer from 2048 features to an embedding moves little in a short training. Ridge
regression moves it at once to where it best predicts the teacher's embeddings of the site's crops,
and only as far as held-out tracks justify.

Source: Hoerl and Kennard 1970, "Ridge regression", shrinking to the given layer instead of zero.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from adln.datasets.loading import iterate_crops
from adln.losses.alignment import alignment_loss, relation_loss
from adln.losses.objective import ObjectiveWeights
from adln.matching.adaptation import TrackedCrops
from adln.model.checkpoint import load_network, read_provenance, save_network
from adln.model.exits import Exit
from adln.model.network import ADLN

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Strengths of the pull to the given layer, as multiples of the features' mean square."""
_TOGETHER = 32
_HELD_OUT = 5  # one track in this many selects the strength


def refit_file(
    trained: Path,
    out: Path,
    depth: int,
    crops: Sequence[Path],
    looked: TrackedCrops,
    *,
    weights: ObjectiveWeights,
) -> Path:
    """Write a network whose last layer is fitted to what a teacher says of crops; see `refit`."""
    network = load_network(trained)
    form = network.architecture
    pixels = iterate_crops(
        crops, batch_size=_TOGETHER, height_px=form.height_px, width_px=form.width_px
    )
    refit(
        network,
        depth,
        (torch.from_numpy(each).permute(0, 3, 1, 2) for each in pixels),
        torch.from_numpy(looked.embeddings),
        looked.tracks,
        weights=weights,
    )
    save_network(out, network, provenance=read_provenance(trained))
    return out


def refit(
    network: ADLN,
    depth: int,
    batches: Iterable[Tensor],
    taught: Tensor,
    tracks: NDArray[np.int64],
    *,
    weights: ObjectiveWeights,
) -> float | None:
    """Fit the last layer of an exit to a teacher's embeddings; the other layers stay.

    The network lies in the teacher's space and is changed in place, but only if that helps.
    `batches` are the N crops, (B, 3, H, W) uint8 of the network's size, `taught` (N, T) the
    teacher's embeddings of them, of unit length. Every fifth of the tracks (N,) is held out and
    judged by the training loss of these weights. Returns the chosen strength; None if the layer is
    unchanged.
    """
    exit_ = network.exits[str(depth)]
    assert isinstance(exit_, Exit)
    layer = exit_.projection
    known, numbers = np.unique(tracks, return_inverse=True)
    if not isinstance(layer, nn.Linear) or len(known) < _HELD_OUT:
        return None
    features = _features(network, depth, exit_, batches)  # (N, 2048)
    before = layer.weight.detach().double()
    is_judging = torch.from_numpy(numbers.reshape(-1) % _HELD_OUT == 0)

    def loss(weight: Tensor) -> float:
        said = features[is_judging] @ weight.T
        own = weights.imitation * alignment_loss(said, taught[is_judging])
        return float(own + weights.relation * relation_loss(said, taught[is_judging]))

    fits = {
        strength: _ridge(features[~is_judging], taught[~is_judging], before, strength)
        for strength in STRENGTHS
    }
    losses = {strength: loss(fit) for strength, fit in fits.items()}
    best = min(losses, key=losses.__getitem__)
    if not losses[best] < loss(before):
        return None
    with torch.no_grad():
        layer.weight.copy_(_ridge(features, taught, before, best))
    return best


@torch.inference_mode()
def _features(network: ADLN, depth: int, exit_: Exit, batches: Iterable[Tensor]) -> Tensor:
    """Input of the last layer for each crop, (N, 2048) float64."""
    network.eval()
    parts = [exit_.bnneck(network(crops).exits[depth].feature) for crops in batches]
    return torch.cat(parts).double()


def _ridge(features: Tensor, taught: Tensor, before: Tensor, strength: float) -> Tensor:
    """The layer (T, 2048) that predicts the teacher's embeddings, shrunk towards `before`."""
    said = features @ before.T
    missing = F.normalize(taught.double()) * said.norm(dim=1).mean() - said
    square = features.T @ features
    square += torch.eye(len(square)) * (strength * square.diagonal().mean())
    moved: Tensor = before + torch.linalg.solve(square, features.T @ missing).T
    return moved
