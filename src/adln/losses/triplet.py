"""Weighted regularised triplet loss: same person near, others far, hard pairs first, no margin.

Sec. II.C, Eq. 8 of the paper.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_regularised_triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Soft margin between weighted mean distances, mean over the anchors of the batch: a scalar.

    Of (B, D) features before the BNNeck, not normalised, and (B,) labels. Each crop is the anchor
    once: log(1 + exp(sum_j w_ij^p d_ij - sum_k w_ik^n d_ik)), with the weights of `pair_weights`.
    Gradients flow through the weights too. An anchor without negatives has a negative sum of 0.

    Source: Sec. II.C, Eq. 8.
    Deviation: see `pair_weights`. The margin of 0.3 in Sec. III.B has no place in Eq. 8.
    """
    distances = pairwise_distances(features)  # (B, B)
    positive_weights, negative_weights = pair_weights(distances, labels)
    positive = (positive_weights * distances).sum(dim=1)  # (B,)
    negative = (negative_weights * distances).sum(dim=1)  # (B,)
    return F.softplus(positive - negative).mean()


def pairwise_distances(features: Tensor) -> Tensor:
    """Euclidean distances within a batch: (B, D) -> (B, B), in float32 or better.

    They come from differences, never from |a|^2 + |b|^2 - 2ab: in float32 that form loses all
    digits of a short distance between long vectors, and its gradient there is noise divided by
    almost nothing. Where two features are equal, the distance is 0 and so is its gradient.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def pair_weights(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How much each pair counts: far positives and near negatives most.

    Returns the weights (B, B) of positives and of negatives. Exact softmax over d for the positives
    of each anchor, over -d for its negatives. An anchor is its own positive, at distance 0. All
    other pairs have weight 0. Each row sums to 1, a row without negatives to 0.

    Source: Sec. II.C, second line of Eq. 8.
    Deviation: the weights of negatives are printed with exp(+d), which would look for the
        easiest negatives; AGW, where the loss comes from, has exp(-d), and so has this.
        AGW's code adds 1e-6 to the denominator of an unshifted softmax: from a distance of about
        15.5 on, its negatives lose their weight and are pulled in instead of pushed away. The
        softmax here is exact at every distance. That an anchor is its own positive is AGW's.
    """
    same_person = labels.unsqueeze(0) == labels.unsqueeze(1)  # (B, B)
    # The lowest finite number, not -inf: a row without negatives then gives zeros, not NaN.
    lowest = torch.finfo(distances.dtype).min
    positive_weights = torch.softmax(distances.masked_fill(~same_person, lowest), dim=1)
    negative_weights = torch.softmax((-distances).masked_fill(same_person, lowest), dim=1)
    return positive_weights * same_person, negative_weights * ~same_person
