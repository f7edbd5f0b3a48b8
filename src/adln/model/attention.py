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

    def forward(self, feature_map: Tensor, pooled_dim: int, *, turned: bool = False) -> Tensor:
        """Weights (B, R, S) between 0 and 1 for the two axes that pooling leaves, in their order.

        The map is (B, C, H, W), or a view of it with the axes in another order, of which
        `pooled_dim` (1 to 3) is pooled away. If `turned`, the axes that are left stand for the
        kernel's columns and rows instead of its rows and columns.
        """
        planes = torch.stack(
            (feature_map.amax(dim=pooled_dim), feature_map.mean(dim=pooled_dim)), dim=1
        )  # (B, 2, R, S)
        if turned:
            planes = planes.mT  # the planes are small, the feature map stays where it is
        gate: Tensor = torch.sigmoid(self.bn(self.conv(planes))).squeeze(1)
        return gate.mT if turned else gate


class DimensionInteractionAttention(nn.Module):
    """DIA: y = 1/2 (x * gate(C, W) + x * gate(H, C)). 200 parameters.

    Source: Sec. II.A, Eq. 1-2. The rotations of Fig. 2 only serve to bring the pooled axis to
    the front; here the axis is pooled where it is, and the gate is spread over it, which gives
    the same numbers without moving the feature map. The map is seen with its channels last, as
    fast convolutions leave it in memory: every step then runs along the channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channel_width = InteractionGate()
        self.height_channel = InteractionGate()

    def forward(self, feature_map: Tensor) -> Tensor:
        """Weigh a feature map (B, C, H, W)."""
        rows = feature_map.permute(0, 2, 3, 1)  # (B, H, W, C)
        # The kernel's rows run along C in the first branch and along H in the second.
        channel_width = 0.5 * self.channel_width(rows, pooled_dim=1, turned=True)  # (B, W, C)
        height_channel = 0.5 * self.height_channel(rows, pooled_dim=2)  # (B, H, C)
        gates = channel_width.unsqueeze(1) + height_channel.unsqueeze(2)  # (B, H, W, C)
        weighed: Tensor = rows * gates
        return weighed.permute(0, 3, 1, 2)  # (B, C, H, W)
