"""Attention transfer: an exit learns to look where the next deeper exit looks.

Sec. II.B, Eq. 3-4 of the paper.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F


def attention_map(feature_map: Tensor) -> Tensor:
    """How strongly a feature map (B, C, H, W) answers at each of its points: (B, H*W), row by row.

    The sum of squares over the channels, in float32 or better.

    Source: Sec. II.B, Eq. 3, with the paper's power p = 2.
    """
    feature_map = feature_map.to(torch.promote_types(feature_map.dtype, torch.float32))
    return feature_map.square().sum(dim=1).flatten(start_dim=1)


def attention_transfer_loss(feature_maps: Sequence[Tensor]) -> Tensor:
    """Distance between the attention of neighbouring exits, summed over the pairs: a scalar.

    The (B, C, H, W) feature maps are from the shallowest exit to the deepest; C may differ. Each
    attention map is scaled to unit length; the distance is the Euclidean norm, not squared, mean
    over the batch. It lies between 0 and sqrt(2) for each pair. The deeper exit of a pair is the
    teacher and gets no gradient from it. A map of zeros stays zero. The gradient is finite
    everywhere, and 0 where two maps are equal.

    Source: Sec. II.B, Eq. 4.
    Deviation: the paper does not say how the batch is reduced (here: mean), nor that the
        teacher is held fixed (here: it is, as in all public distillation codes, or deep exits
        would learn to look where shallow ones do). The public attention transfer code takes the
        mean square instead of the norm, with a weight of 1000; the norm is what is printed.
    """
    attentions = [F.normalize(attention_map(feature_map), dim=1) for feature_map in feature_maps]
    # vector_norm, not sqrt(sum of squares): it defines the gradient at 0 as 0, not as NaN.
    distances = [
        torch.linalg.vector_norm(teacher.detach() - student, dim=1).mean()
        for student, teacher in pairwise(attentions)
    ]
    return torch.stack(distances).sum()
