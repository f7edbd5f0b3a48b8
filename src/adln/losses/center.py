"""Centre loss: each identity has a learned centre, and its crops are drawn to it.

Sec. II.C, Eq. 9 of the paper.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adln.errors import SettingsError

CENTER_WEIGHT = 5e-4
CENTER_LEARNING_RATE = 0.5


def center_loss(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Squared distance of each feature to the centre of its identity, mean over the batch.

    A scalar of (B, D) features before the BNNeck and not normalised, (B,) int64 labels 0..K-1 and
    (K, D) centres, in float32 or better.

    Source: Sec. II.C, Eq. 9.
    Deviation: Eq. 9 sums over the batch and halves; this is the mean without the half, so 2/B of
        it, as in the public codes whose weight of 5e-4 goes with it. Printed literally, and with
        the weight of 1 of Eq. 10, the term would be 8e4 times as large at B = 80 and drown all
        others. Those codes also clamp each squared distance to 1e-12..1e12, which their form
        (|f|^2 + |c|^2 - 2fc for all K centres) needs and a plain difference does not.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    own_centers = F.embedding(labels, centers)  # (B, D)
    return (features - own_centers).square().sum(dim=1).mean()


class ClassCenters(nn.Module):
    """The centres that `center_loss` needs: for each exit one table (K, D), drawn from N(0, 1).

    Kept apart from the network: it is needed to go on training, never to deploy.
    """

    def __init__(
        self, depths: Iterable[int], num_classes: int, dim: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tables = nn.ParameterDict(
            {
                str(depth): nn.Parameter(torch.randn(num_classes, dim, generator=generator))
                for depth in depths
            }
        )

    def forward(self) -> dict[int, Tensor]:
        """Depth -> centres (K, D), as the objective takes them."""
        return {int(depth): table for depth, table in self.tables.items()}


def build_center_optimiser(
    centers: ClassCenters,
    *,
    weight: float = CENTER_WEIGHT,
    learning_rate: float = CENTER_LEARNING_RATE,
) -> torch.optim.SGD:
    """The centres' own optimiser: a step moves them by the same length at every loss weight.

    The public codes multiply the gradients by 1/weight and then step with `learning_rate`. For
    plain SGD that is a step with learning_rate/weight, so nothing needs to be done between
    `backward` and `step`. One step moves a centre by -learning_rate * d center_loss / d centre; at
    0.5, by 1/B of the sum of the differences to its crops in the batch. The rate follows no
    schedule. There is no momentum, hence no state to lose.

    Raises:
        SettingsError: the weight is not positive, so that no gradient ever comes.

    Source: not in the paper; the optimiser of the centres in BoT (reid-strong-baseline) and AGW.
    """
    if not weight > 0:
        raise SettingsError(
            f"the weight of the centre loss must be more than 0 to move centres, got {weight}; "
            "without centre loss, build no centres"
        )
    return torch.optim.SGD(centers.parameters(), lr=learning_rate / weight)
