"""Maps the exits of a trained network into one space, by a linear map behind each BNNeck.

Not part of the paper: all exits of Fig. 1 learn the same persons, but in separate spaces. A ridge
regression brings an exit's embeddings to the deepest exit's mean of the same person, so that a
query at one depth finds a gallery of another. The networks themselves do not change.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from adln.errors import TrainingError
from adln.model.exits import FEATURE_DIM
from adln.model.network import ADLN, Architecture

DEFAULT_DIM = 512
DEFAULT_RIDGE = 1.0
_FIRST_SUMMED = 2


@dataclass(frozen=True)
class CommonSpace:
    """The space common to all exits.

    `maps` are depth -> (D, 2048) float32, from an embedding of that exit to the space; `centers`
    are the training data's persons, (K, D) float32 of unit length.
    """

    maps: Mapping[int, Tensor]
    centers: Tensor


def require_alignable(
    architecture: Architecture,
    labels: Tensor,
    *,
    dim: int = DEFAULT_DIM,
    ridge: float = DEFAULT_RIDGE,
    goal_depth: int | None = None,
) -> None:
    """Raise TrainingError, before crops are embedded, if a network cannot get a common space."""
    _require_no_space(architecture)
    _require_fittable(architecture.exits, labels, dim=dim, ridge=ridge, goal_depth=goal_depth)


def fit_common_space(
    embeddings: Mapping[int, Tensor],
    labels: Tensor,
    *,
    dim: int = DEFAULT_DIM,
    ridge: float = DEFAULT_RIDGE,
    goal_depth: int | None = None,
) -> CommonSpace:
    """Fit a map for each exit to (N, 2048) unit embeddings of the same N crops at each depth.

    The target is the mean of each person's embeddings at the deepest exit, or at `goal_depth`,
    reduced to its first principal directions: `dim`, at most K and at most 2047. A mean per person,
    because it also brings an exit's crops of one person closer together. Persons are 0..K-1, each
    with at least one crop. The ridge is in units of the embeddings' mean variance.

    A map depends only on its own exit and on the target exit. So exits added later join a space
    already in use if the target is the exit that was the deepest then.

    Raises:
        TrainingError: `dim` or `ridge` is out of range, a person has no crop, or there are no
            embeddings of `goal_depth`.
    """
    _require_fittable(embeddings.keys(), labels, dim=dim, ridge=ridge, goal_depth=goal_depth)

    counts = torch.bincount(labels)  # (K,)
    teacher = embeddings[max(embeddings) if goal_depth is None else goal_depth].double()
    means = group_means(teacher, labels, len(counts))  # (K, 2048)
    # Weighted by crops: a person counts as often as they have crops.
    _, _, directions = torch.linalg.svd(means * counts.sqrt()[:, None], full_matrices=False)
    reduced = means @ directions[:dim].T  # (K, D)
    goal = reduced[labels]  # (N, D)
    maps = {
        depth: _ridge_regression(embedding.double(), goal, ridge).float()
        for depth, embedding in embeddings.items()
    }
    return CommonSpace(maps, F.normalize(reduced).float())


def with_common_space(network: ADLN, space: CommonSpace, *, together: bool = True) -> ADLN:
    """The network with a projection behind each BNNeck; everything else is copied.

    Each classifier becomes the persons' centres in the space, the same for all exits: it identifies
    the space, and training can continue from it. With `together`, each depth from 2 on returns the
    sum of its embedding and those of the earlier exits, at the cost of only these exits. Exit 1 is
    too weak to be included.

    Raises:
        TrainingError: the network already has projections, or the space has other exits.
    """
    architecture = network.architecture
    _require_no_space(architecture)
    if set(space.maps) != set(architecture.exits):
        raise TrainingError(
            f"the space has exits {sorted(space.maps)}, the network {architecture.exits}"
        )
    num_classes, dim = space.centers.shape
    summed = tuple(depth for depth in architecture.exits if depth >= _FIRST_SUMMED)
    if not together or len(summed) == 1:
        summed = ()
    state = dict(network.state_dict())
    for depth, projection in space.maps.items():
        state[f"exits.{depth}.projection.weight"] = projection
        state[f"exits.{depth}.classifier.weight"] = space.centers
    return network.rebuilt(
        replace(architecture, embedding_dim=dim, num_classes=num_classes, summed_exits=summed),
        state,
    )


def group_means(rows: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean of the rows of each label 0..count-1, (count, D); zeros for a label without rows."""
    sums = torch.zeros(count, rows.shape[1], dtype=rows.dtype, device=rows.device)
    counts = torch.bincount(labels, minlength=count)[:, None].clamp(min=1)
    return sums.index_add_(0, labels, rows) / counts


def join_exits(network: ADLN, other: ADLN) -> ADLN:
    """Merge the exits of two networks that share their stages, unchanged bit by bit.

    One was grown from the other by `network.frozen_depth`. `network` contributes everything it has,
    `other` the exits that it lacks, none of them deeper.

    Raises:
        TrainingError: they differ in a stage below an exit of `other`, or in their architecture.
    """
    ours, theirs = network.architecture, other.architecture
    exits = tuple(sorted({*ours.exits, *theirs.exits}))
    added = [depth for depth in theirs.exits if depth not in ours.exits]
    form = replace(ours, exits=exits)
    if replace(theirs, exits=exits, attention=ours.attention) != form or theirs.depth > ours.depth:
        raise TrainingError(f"these networks differ in architecture: {ours} and {theirs}")
    state, given = dict(network.state_dict()), other.state_dict()
    for name, tensor in given.items():
        part, _, rest = name.partition(".")
        depth = 0 if part == "stem" else int(rest.partition(".")[0])
        if part == "exits":
            if depth in added:
                state[name] = tensor
        elif depth <= max(added, default=0) and not torch.equal(state[name], tensor):
            raise TrainingError(
                f"these networks differ in {name}, so exits {added} of the one do not fit the "
                "other. Only networks that were grown from one another can be joined."
            )
    return network.rebuilt(form, state)


def _require_no_space(architecture: Architecture) -> None:
    if architecture.embedding_dim < FEATURE_DIM:
        raise TrainingError("this network already has a common space; use the one before")


def _require_fittable(
    depths: Collection[int], labels: Tensor, *, dim: int, ridge: float, goal_depth: int | None
) -> None:
    counts = torch.bincount(labels)
    if len(counts) < 2:
        raise TrainingError(
            f"a common space needs at least 2 persons, got {len(counts)}; use the data set "
            "that the network was trained on"
        )
    most = min(len(counts), FEATURE_DIM - 1)
    if not 1 <= dim <= most:
        raise TrainingError(
            f"a common space of {len(counts)} persons has 1 to {most} dimensions, got {dim}"
        )
    if not ridge > 0:
        raise TrainingError(f"ridge must be more than 0, got {ridge}")
    if bool((counts == 0).any()):
        raise TrainingError(f"person {int((counts == 0).nonzero()[0])} has no crop")
    if goal_depth is not None and goal_depth not in depths:
        raise TrainingError(
            f"exit {goal_depth} cannot be the goal, there are embeddings of {sorted(depths)}"
        )


def _ridge_regression(inputs: Tensor, goal: Tensor, ridge: float) -> Tensor:
    """W (D, 2048) that minimises |inputs W^T - goal|^2 + ridge x mean variance x |W|^2."""
    covariance = inputs.T @ inputs
    weight = ridge * covariance.diagonal().mean()
    covariance.diagonal().add_(weight)
    weights: Tensor = torch.linalg.solve(covariance, inputs.T @ goal)  # (2048, D)
    return weights.T.contiguous()
