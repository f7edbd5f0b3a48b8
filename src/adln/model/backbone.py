"""ResNet-50 as a stem and four stages, last stride 1, for crops of 256x128 px.

Fig. 1 of the paper; the architecture of He et al. 2016 with the stem's ReLU in place.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM_CHANNELS = 64
STAGE_BLOCKS = (3, 4, 6, 3)
STAGE_CHANNELS = (256, 512, 1024, 2048)
STAGE_STRIDES = (1, 2, 2, 1)
BOTTLENECK_EXPANSION = 4

StridePosition = Literal["3x3", "1x1"]


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the size of the map at stride 1."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=False,
    )


class Stem(nn.Module):
    """7x7 convolution, batch norm, ReLU, 3x3 max pooling: (B, 3, 256, 128) -> (B, 64, 64, 32).

    Deviation: re-identification codes of the BoT family leave the ReLU out by mistake; ImageNet
        weights expect it.
    """

    def __init__(self, bn_eps: float) -> None:
        super().__init__()
        self.conv1 = convolution(3, STEM_CHANNELS, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS, eps=bn_eps)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels (B, 3, H, W) to (B, 64, H/4, W/4)."""
        x: Tensor = self.pool(self.relu(self.bn1(self.conv1(pixels))))
        return x


class HalfInstanceNorm(nn.BatchNorm2d):
    """Instance norm of the first half of the channels, batch norm of the others (IBN-a).

    Not in the paper. Parameters and statistics have a batch norm's names, so that weights trained
    without it can be loaded.

    Source: Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net",
        ECCV 2018.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        half = self.num_features // 2
        gain, bias = self.weight[:half], self.bias[:half]
        if self.training:
            normed = super().forward(input)
            own = F.instance_norm(input[:, :half], weight=gain, bias=bias, eps=self.eps)
            return torch.cat((own, normed[:, half:]), dim=1)
        # A batch norm that leaves the first half alone can be folded into the convolution.
        assert self.running_mean is not None
        assert self.running_var is not None
        as_it_is = torch.arange(self.num_features, device=input.device) < half
        normed = F.batch_norm(
            input,
            self.running_mean.masked_fill(as_it_is, 0),
            self.running_var.masked_fill(as_it_is, 1 - self.eps),
            self.weight.masked_fill(as_it_is, 1),
            self.bias.masked_fill(as_it_is, 0),
            eps=self.eps,
        )
        own = F.instance_norm(normed[:, :half], weight=gain, bias=bias, eps=self.eps)
        return torch.cat((own, normed[:, half:]), dim=1)


class Bottleneck(nn.Module):
    """Residual block of 1x1, 3x3, 1x1 convolutions; the inner channels are a quarter of those out.

    `stride_position` is the convolution that carries the stride: the 3x3 (torchvision's ResNet-50)
    or the first 1x1 (He et al., Caffe and Keras weights). `instance_norm`: see `HalfInstanceNorm`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        stride_position: StridePosition,
        bn_eps: float,
        instance_norm: bool = False,
    ) -> None:
        super().__init__()
        inner = out_channels // BOTTLENECK_EXPANSION
        first, second = (stride, 1) if stride_position == "1x1" else (1, stride)
        self.conv1 = convolution(in_channels, inner, 1, stride=first)
        self.bn1 = (HalfInstanceNorm if instance_norm else nn.BatchNorm2d)(inner, eps=bn_eps)
        self.conv2 = convolution(inner, inner, 3, stride=second)
        self.bn2 = nn.BatchNorm2d(inner, eps=bn_eps)
        self.conv3 = convolution(inner, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels, eps=bn_eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                convolution(in_channels, out_channels, 1, stride=stride),
                nn.BatchNorm2d(out_channels, eps=bn_eps),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H/stride, W/stride)."""
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += self.downsample(x)
        out: Tensor = self.relu(y)
        return out


def build_stage(
    number: int, stride_position: StridePosition, bn_eps: float, *, instance_norm: bool = False
) -> nn.Sequential:
    """Stage 1 to 4 (the paper's "layer"): (B, C, H, W) -> (B, 256 * 2**(number-1), H', W').

    With `instance_norm` the first norm of each block is a `HalfInstanceNorm`.
    """
    index = number - 1
    in_channels = STEM_CHANNELS if index == 0 else STAGE_CHANNELS[index - 1]
    return nn.Sequential(
        *(
            Bottleneck(
                in_channels if block == 0 else STAGE_CHANNELS[index],
                STAGE_CHANNELS[index],
                stride=STAGE_STRIDES[index] if block == 0 else 1,
                stride_position=stride_position,
                bn_eps=bn_eps,
                instance_norm=instance_norm,
            )
            for block in range(STAGE_BLOCKS[index])
        )
    )
