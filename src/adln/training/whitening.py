"""Reduces the weight of directions in which embeddings vary most without identifying people.

Not part of the paper. A few directions, such as a campus's light, hold most of the variance, and
two strangers can look similar by them alone; in some, one person varies as much as people differ.
Partial whitening divides each direction by a small power of its variance, once over all crops and
once within persons, and subtracts part of the mean. It is one linear map for all exits, folded into
their last layers, so the cost stays the same, and embeddings stay comparable with earlier ones.

Source: Jegou and Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of
    PCA and whitening", ECCV 2012, with a power of 1/2 and the whole mean; within-class covariance
    normalisation of Hatch, Kajarekar and Stolcke, Interspeech 2006, likewise with 1/2.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adln.datasets.loading import iterate_crops
from adln.datasets.split import Split
from adln.errors import TrainingError
from adln.model.exits import Exit
from adln.model.network import ADLN, DEPTHS
from adln.training.common_space import group_means
from adln.training.data import evenly

# Chosen on CUHK03's validation persons, on a plateau from 0.1 to 0.2.
POWER = 0.15
"""Exponent of the variance over all crops by which each direction is divided; 1/2 equalises all."""
POWER_WITHIN = 0.15
"""Exponent of the variance within persons, likewise."""
CENTRED = 0.5
"""Share of the mean that is subtracted."""
SHRINKAGE = 0.5
"""Added to the variance of each direction, as a share of the mean variance."""
CROPS = 4000
"""Most crops per source; large and small sources count equally."""
_TOGETHER = 32


@dataclass(frozen=True)
class Whitening:
    """Map of embeddings of unit length: (e - offset) @ map; (D, D) and (D,) float64."""

    map: Tensor
    offset: Tensor

    def apply(self, embeddings: Tensor) -> Tensor:
        """(N, D) of unit length to (N, D) of unit length."""
        moved = (embeddings.double() - self.offset) @ self.map
        return F.normalize(moved).to(embeddings.dtype)


@dataclass(frozen=True)
class WhiteningStrength:
    """Strength of a whitening; see the constants of the same names.

    Raises:
        TrainingError: a number is out of range.
    """

    power: float = POWER
    power_within: float = POWER_WITHIN
    centred: float = CENTRED
    shrinkage: float = SHRINKAGE

    def __post_init__(self) -> None:
        powers = (self.power, self.power_within)
        if not (all(0 <= one <= 0.5 for one in powers) and 0 <= self.centred <= 1):
            raise TrainingError(
                "a whitening needs powers from 0 to 0.5 and a share of the mean from 0 to 1, got "
                f"{self}"
            )
        if not self.shrinkage > 0:
            raise TrainingError(f"the shrinkage of a whitening must be above 0, got {self}")


def fit_whitening(
    sources: Sequence[tuple[Tensor, Tensor | None]],
    strength: WhiteningStrength = WhiteningStrength(),
) -> Whitening:
    """Fit a whitening to embeddings of many people.

    Each of `sources`, a data set that counts equally, has (N, D) embeddings of unit length and (N,)
    int64 persons, or None if unlabelled.

    Raises:
        TrainingError: there are fewer embeddings than dimensions, or no person has two.
    """
    count, dim = sum(len(rows) for rows, _ in sources), sources[0][0].shape[1]
    if count < dim:
        raise TrainingError(
            f"a whitening of {dim} dimensions needs at least {dim} crops, got {count}: add more "
            "people with --data or --unlabelled"
        )
    parts = [rows.double() for rows, _ in sources if len(rows)]
    mean = torch.stack([rows.mean(dim=0) for rows in parts]).mean(dim=0)
    total = torch.stack([(rows - mean).T @ (rows - mean) / len(rows) for rows in parts])
    map_ = _divided(total.mean(dim=0), strength.power, strength.shrinkage)
    if strength.power_within:
        named = [(rows.double(), persons) for rows, persons in sources if persons is not None]
        within = [_within(rows, persons) for rows, persons in named if len(rows)]
        if not within or not bool(torch.stack(within).any()):
            raise TrainingError(
                "the variance within persons needs labelled crops, at least two of one person: add "
                "a data set with --data, or leave it out with --power-within 0"
            )
        spread = torch.stack(within).mean(dim=0)
        map_ = map_ @ _divided(spread, strength.power_within, strength.shrinkage)
    return Whitening(map_, strength.centred * mean)


def _within(rows: Tensor, persons: Tensor) -> Tensor:
    """(D, D) covariance of (N, D) rows about the mean of their person."""
    known, numbers = torch.unique(persons, return_inverse=True)
    apart = rows - group_means(rows, numbers, len(known))[numbers]
    covariance: Tensor = apart.T @ apart / max(1, len(rows) - len(known))
    return covariance


def _divided(covariance: Tensor, power: float, shrinkage: float) -> Tensor:
    """(D, D) that divides each direction by a power of its variance, with mean factor 1."""
    variances, directions = torch.linalg.eigh(covariance)
    factors = (variances.clamp(min=0) + shrinkage * variances.mean()) ** -power
    map_: Tensor = (directions * (factors / factors.mean())) @ directions.T
    return map_


def require_whitenable(network: ADLN) -> None:
    """Raise TrainingError, before crops are embedded, if a network cannot be whitened.

    Each exit needs a last layer from features to embeddings, and to be an exit of its own.
    """
    form = network.architecture
    own_layers = all(isinstance(one.projection, nn.Linear) for one in network.exits.values())
    if form.exits != form.built_exits or not own_layers:
        raise TrainingError(
            "whitening needs a network whose exits each have their own last layer into one space, "
            "as trained with a teacher in its space (network.teacher_space)"
        )


def with_whitening(network: ADLN, whitening: Whitening, norms: Mapping[int, float]) -> None:
    """Fold a whitening into the last layer of each exit of `norms`, in place.

    The offset becomes a bias of the BNNeck, chosen so that the last layer maps it to the offset.
    Classifiers are transformed accordingly, up to a constant. `norms` are depth -> mean length of
    the exit's own embeddings before normalisation; the offset is for unit length.
    """
    with torch.no_grad():
        for depth in norms:
            exit_ = network.exits[str(depth)]
            assert isinstance(exit_, Exit)
            layer = exit_.projection.weight  # (D, 2048)
            assert isinstance(layer, Tensor)
            before = layer.double().cpu()
            bias = torch.linalg.lstsq(before, -norms[depth] * whitening.offset[:, None]).solution
            exit_.bnneck.bias.add_(bias[:, 0].to(exit_.bnneck.bias))
            layer.copy_(whitening.map.T @ before)
            classes = exit_.classifier.weight
            classes.copy_(torch.linalg.solve(whitening.map, classes.double().cpu().T).T)


def whiten(
    network: ADLN,
    splits: Sequence[Split],
    unlabelled: Sequence[Path],
    strength: WhiteningStrength = WhiteningStrength(),
    *,
    exits: Collection[int] = DEPTHS,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Fit a whitening to a network's embeddings of pictures, and fold it in, in place.

    It is fitted to the deepest answer, and the same for all exits, as they share a space. `CROPS`
    pictures of each split are used, evenly chosen; the unlabelled ones are one further data set. It
    is folded into `exits`, such as those that are not whitened yet. `on_progress` gets the number
    of crops of each batch. Returns the number of crops that were used.

    Raises:
        TrainingError: see `fit_whitening` and `require_whitenable`.
        DatasetError: a picture cannot be read.
    """
    require_whitenable(network)
    chosen = [split.select(evenly(len(split), CROPS)) for split in splits]
    paths = [path for split in chosen for path in split.paths]
    paths += [unlabelled[at] for at in evenly(len(unlabelled), CROPS)]
    form = network.architecture
    network.architecture = replace(form, summed_exits=())
    try:
        embeddings = _embeddings(network, paths, on_progress)
    finally:
        network.architecture = form
    together = form.summed_exits or form.exits[-1:]
    units = torch.stack([F.normalize(embeddings[depth]) for depth in together])
    deepest = F.normalize(units.sum(dim=0))  # (N, D)
    named = [len(split) for split in chosen]
    parts = deepest.split([*named, len(paths) - sum(named)])
    persons = [torch.from_numpy(split.person_ids) for split in chosen]
    whitening = fit_whitening(list(zip(parts, [*persons, None], strict=True)), strength)
    norms = {
        depth: float(rows.norm(dim=1).mean())
        for depth, rows in embeddings.items()
        if depth in exits
    }
    with_whitening(network, whitening, norms)
    return len(paths)


@torch.inference_mode()
def _embeddings(
    network: ADLN, paths: Sequence[Path], on_progress: Callable[[int], None]
) -> dict[int, Tensor]:
    """Depth -> (N, D) embeddings before normalisation."""
    form = network.architecture
    network.eval()
    found: dict[int, list[Tensor]] = {
        depth: [torch.zeros(0, form.embedding_dim)] for depth in form.exits
    }
    for pixels in iterate_crops(
        paths, batch_size=_TOGETHER, height_px=form.height_px, width_px=form.width_px
    ):
        answers = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).exits
        for depth, rows in found.items():
            rows.append(answers[depth].embedding.float())
        on_progress(len(pixels))
    return {depth: torch.cat(rows) for depth, rows in found.items()}
