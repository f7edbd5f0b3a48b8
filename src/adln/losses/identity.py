"""Identity loss: whose crop is it, as a classification over the training identities.

Sec. II.C, Eq. 7 of the paper.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def identity_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.1) -> Tensor:
    """Cross entropy of (B, K) logits against smoothed labels, mean over the batch: a scalar.

    The target distribution gives (1 - e) + e/K to the true identity and e/K to each other one, with
    e = `label_smoothing`, from 0 to less than 1. Computed in float32 or better.

    Source: Sec. II.C, Eq. 7; e = 0.1 from Sec. III.B.
    Deviation: Eq. 7 divides by the number of identities; this divides by B, as every public
        re-identification code does, so that the loss of a crop does not shrink with the data set.
        The form of smoothing is not printed: this is the usual one, in which the true identity
        gets its share of e too (fast-reid's, which gives e/(K-1) to the others, is another).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def margin_identity_loss(
    cosines: Tensor, labels: Tensor, *, margin: float = 0.35, scale: float = 30.0
) -> Tensor:
    """Cross entropy of scaled cosines, the true identity's less by a margin; mean over the batch.

    The cosines (B, K) are of the embedding and each identity's direction. Computed in float32 or
    better.

    Source: AM-softmax, Wang et al. 2018 (also CosFace). Not in the paper.
    """
    cosines = cosines.to(torch.promote_types(cosines.dtype, torch.float32))
    own = F.one_hot(labels, cosines.shape[1]).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - margin * own), labels)
