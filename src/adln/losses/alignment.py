"""Alignment: the embeddings of a shallow exit come to lie where those of a teacher do.

Not in the paper. With the deepest exit as the teacher and one classifier for all, a query at one
depth finds a gallery of another. With another network as the teacher, it is imitation.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of each crop's two embeddings, (B, D) each, mean over the batch: a scalar in 0..2.

    The teacher's, of the deepest exit or of another network, get no gradient. Computed in float32
    or better.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    similarity = F.cosine_similarity(student.to(dtype), teacher.detach().to(dtype), dim=1)
    return (1 - similarity).mean()


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the cosines between all pairs of crops of a batch, in 0..4.

    Who is like whom is what a search asks for; 1 - cosine of each crop alone does not say it. The
    student's (B, D) and the teacher's (B, T) embeddings may differ in length; the teacher gets no
    gradient. Computed in float32 or better.

    Source: similarity-preserving distillation, Tung and Mori 2019, with cosines.
    """
    dtype = torch.promote_types(student.dtype, torch.float32)
    own = F.normalize(student.to(dtype))
    given = F.normalize(teacher.detach().to(dtype))
    return (own @ own.T - given @ given.T).square().mean()
