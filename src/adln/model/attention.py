"""Dimension interaction attention (DIA): channels weighed together with rows and with columns.

Sec. II.A, Eq. 1-2, Fig. 2 of the paper: the first two branches of triplet attention.
"""

import torch
from torch import Tensor, nn

KERNEL_SIZE = 7
BATCH_NORM_MOMENTUM = 0.01


class InteractionGate(nn.Module):
    """One branch of DIA: pooled plane -> 7x7 convolution -> batch norm -> sigmoid.

    The plane that is pooled has two axes of the feature map left, and the gate has one weight
    for each of its points. 100 parameters.

    Source: Sec. II.A, psi and sigma of Eq. 1.
    Deviation: batch norm stands before the sigmoid, and the pooled planes come as (max, mean);
        Eq. 1 shows no batch norm and leaves the order open. Both are the form of the public
        triplet attention code, of which the paper says that DIA is a part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, KERNEL_SIZE, padding=KERNEL_SIZE // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, feature_map: Tensor, pooled_dim: int) -> Tensor:
        """Weights between 0 and 1 for the two axes that pooling leaves.

        Args:
            feature_map: (B, C, H, W), or a view of it with the same four axes in another order.
            pooled_dim: the axis (1 to 3) that is pooled away.

        Returns:
            (B, R, S): one weight for each point of the remaining axes R and S, in their order.
        """
        planes = torch.stack(
            (feature_map.amax(dim=pooled_dim), feature_map.mean(dim=pooled_dim)), dim=1
        )  # (B, 2, R, S)
        gate: Tensor = torch.sigmoid(self.bn(self.conv(planes)))  # (B, 1, R, S)
        return gate.squeeze(1)


class DimensionInteractionAttention(nn.Module):
    """DIA: y = 1/2 (x * gate(C, W) + x * gate(H, C)). 200 parameters.

    Source: Sec. II.A, Eq. 1-2. The rotations of Fig. 2 only serve to bring the pooled axis to
    the front; here the axis is pooled where it is, and the gate is spread over it, which gives
    the same numbers without moving the feature map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channel_width = InteractionGate()
        self.height_channel = InteractionGate()

    def forward(self, feature_map: Tensor) -> Tensor:
        """Weigh a feature map.

        Args:
            feature_map: (B, C, H, W), float.

        Returns:
            (B, C, H, W).
        """
        channel_width = self.channel_width(feature_map, pooled_dim=2)  # (B, C, W)
        # The kernel's rows must run along H and its columns along C, as in the second branch.
        height_channel = self.height_channel(feature_map.transpose(1, 2), pooled_dim=3)  # (B, H, C)
        gates: Tensor = channel_width.unsqueeze(2) + height_channel.transpose(1, 2).unsqueeze(3)
        return 0.5 * feature_map * gates  # (B, C, H, W)
