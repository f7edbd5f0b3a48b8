"""An exit after each stage: to 2048 channels at 16x8, then the BNNeck and a classifier.

Sec. II and Fig. 1 of the paper ("bottleneck" and classifiers). The paper does not print the form
of its bottlenecks; this one is the uniform rule that gives all sizes of Table 1.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adln.model.backbone import BOTTLENECK_EXPANSION, STAGE_CHANNELS, convolution

FEATURE_DIM = 2048
CLASSIFIER_INIT_STD = 0.001
# Kernel and stride that bring the map of stages 1, 2 and 3 to 16x8.
REDUCTIONS = {1: (5, 4), 2: (3, 2), 3: (1, 1)}
PX_PER_ROW = 16  # rows of the reduced map: 16 for crops of 256 px


@dataclass(frozen=True)
class ExitOutput:
    """What one exit says of B crops.

    Attributes:
        feature_map: (B, 2048, H, W), not negative; (16, 8) for crops of 256x128 px.
        feature: (B, 2048) float32, the mean of the map over its points, or of its rows by their
            weights: for metric losses.
        embedding: (B, D) float32, for retrieval, by cosine: the feature after the BNNeck, D = 2048,
            and after the projection into a common space, if the network has one. Where exits answer
            together, the sum of theirs.
        logits: (B, K) float32, over the K training identities.
    """

    feature_map: Tensor
    feature: Tensor
    embedding: Tensor
    logits: Tensor

    def first(self, count: int) -> "ExitOutput":
        """What the exit says of the first crops of the batch."""
        return ExitOutput(
            self.feature_map[:count],
            self.feature[:count],
            self.embedding[:count],
            self.logits[:count],
        )


def build_reduction(depth: int, bn_eps: float) -> nn.Module:
    """The bottleneck after stage `depth`: 1x1 to a quarter, kxk with stride, 1x1 to 2048.

    Each convolution is followed by batch norm and ReLU. Stage 4 already has the form, so it
    needs none.
    """
    if depth not in REDUCTIONS:
        return nn.Identity()
    in_channels = STAGE_CHANNELS[depth - 1]
    inner = in_channels // BOTTLENECK_EXPANSION
    kernel_size, stride = REDUCTIONS[depth]
    convolutions = (
        convolution(in_channels, inner, 1),
        convolution(inner, inner, kernel_size, stride=stride),
        convolution(inner, FEATURE_DIM, 1),
    )
    layers: list[nn.Module] = []
    for each in convolutions:
        layers += [each, nn.BatchNorm2d(each.out_channels, eps=bn_eps), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def stretch_rows(weights: Tensor, rows: int) -> Tensor:
    """Row weights (C, R) for maps of another height, (C, rows): those between, by interpolation."""
    if weights.shape[1] == rows:
        return weights
    return F.interpolate(weights[None], size=rows, mode="linear")[0]


def _without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    # The meta device, on which networks are counted, knows no autocast.
    if tensor.is_meta:
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


class Exit(nn.Module):
    """Reduction, global average pooling, BNNeck, classifier of K identities, behind stage `depth`.

    An `embedding_dim` of less than 2048 puts a projection behind the BNNeck. Each channel weights
    the `weighted_rows` of the map before their mean is taken, so that a colour at the head counts
    for other channels than one at the feet: a global depthwise convolution (Chen et al. 2018,
    MobileFaceNets) that is equal along a row. 0 takes the plain mean, as the paper does.

    Source: Sec. II, Fig. 1; the BNNeck of Luo et al. 2019 with its bias frozen at zero. The
        projection is not in the paper, see `adln.training.common_space`.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int,
        bn_eps: float,
        embedding_dim: int = FEATURE_DIM,
        *,
        weighted_rows: int = 0,
    ) -> None:
        super().__init__()
        self.reduction = build_reduction(depth, bn_eps)
        self.bnneck = nn.BatchNorm1d(FEATURE_DIM)
        self.bnneck.bias.requires_grad_(False)
        self.projection = (
            nn.Linear(FEATURE_DIM, embedding_dim, bias=False)
            if embedding_dim < FEATURE_DIM
            else nn.Identity()
        )
        self.row_weights = (
            nn.Parameter(torch.ones(FEATURE_DIM, weighted_rows)) if weighted_rows else None
        )
        self.classifier = nn.Linear(embedding_dim, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=CLASSIFIER_INIT_STD)

    def forward(self, stage_map: Tensor) -> ExitOutput:
        """Map (B, C, H, W) of the stage to the exit's answers."""
        feature_map: Tensor = self.reduction(stage_map)  # (B, 2048, 16, 8)
        # Pooling and all that follows stay in full precision under mixed precision.
        with _without_autocast(feature_map):
            dtype = torch.promote_types(feature_map.dtype, torch.float32)
            if self.row_weights is None:
                feature = feature_map.mean(dim=(2, 3), dtype=dtype)  # (B, 2048)
            else:
                rows = feature_map.mean(dim=3, dtype=dtype)  # (B, 2048, H)
                feature = (rows * stretch_rows(self.row_weights, rows.shape[2])).mean(dim=2)
            embedding = self.projection(self.bnneck(feature))  # (B, D)
            logits = self.classifier(embedding)  # (B, K)
        return ExitOutput(feature_map, feature, embedding, logits)
