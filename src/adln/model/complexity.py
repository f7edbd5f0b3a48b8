"""Parameters and operations of a network, counted as Table 1 of the paper counts them.

Table 1, columns Params and Flops: multiply-accumulates of the convolutions, two operations for
each element that a 2-D batch norm writes, and one for each that the global pooling reads or writes
(the rule of thop 0.0.31, the counter of that time).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adln.model.exits import Exit
from adln.model.network import ADLN, Architecture

OPERATIONS_PER_BATCH_NORM_ELEMENT = 2


@dataclass(frozen=True)
class Complexity:
    """Size and work of one network for one crop.

    `params` counts backbone, attention and exit reductions, but not BNNeck (4,096) and classifiers,
    as in Table 1. Batch norm elements are those written by 2-D batch norms, pooled elements those
    read and written by the global average pooling of the exits.
    """

    params: int
    conv_macs: int
    batch_norm_elements: int
    pooled_elements: int

    @property
    def flops(self) -> int:
        """The paper's "Flops"."""
        batch_norm = OPERATIONS_PER_BATCH_NORM_ELEMENT * self.batch_norm_elements
        return self.conv_macs + batch_norm + self.pooled_elements


def count(network: ADLN) -> Complexity:
    """Count a network, whole or cut, without computing anything or changing it, as in Table 1."""
    height_px, width_px = network.architecture.height_px, network.architecture.width_px
    with torch.device("meta"):
        shadow = ADLN(network.architecture).eval()
    counted: Counter[str] = Counter()

    def counting(name: str, of: Callable[[Any, Any], int]) -> Callable[[Any, Any, Any], None]:
        return lambda module, _, output: counted.update({name: of(module, output)})

    for module in shadow.modules():
        if isinstance(module, nn.Conv2d):
            # weight: (out, in / groups, k, k); each output element costs in / groups * k * k.
            count_conv = counting("macs", lambda conv, y: y.numel() * conv.weight[0].numel())
            module.register_forward_hook(count_conv)
        elif isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(counting("batch_norm", lambda _, y: y.numel()))
        elif isinstance(module, Exit):
            count_pooling = counting(
                "pooled", lambda _, y: y.feature_map.numel() + y.feature.numel()
            )
            module.register_forward_hook(count_pooling)
            if isinstance(module.projection, nn.Linear):
                # A 1x1 convolution of a single point.
                count_linear = counting("macs", lambda linear, y: y.numel() * linear.in_features)
                module.projection.register_forward_hook(count_linear)
    shadow(torch.empty(1, 3, height_px, width_px, device="meta"))
    params = sum(
        parameter.numel()
        for name, parameter in shadow.named_parameters()
        if "bnneck" not in name and "classifier" not in name
    )
    return Complexity(params, counted["macs"], counted["batch_norm"], counted["pooled"])


def count_exits(network: ADLN) -> dict[int, Complexity]:
    """Count the networks that can be cut from a network: depth -> its size and work."""
    with torch.device("meta"):
        shadow = ADLN(network.architecture)
        return {depth: count(shadow.cut(depth)) for depth in network.architecture.exits}


def count_depth(depth: int, architecture: Architecture | None = None) -> Complexity:
    """Count the network cut at a depth (Res1 to Res4); of the paper's architecture by default."""
    whole = architecture if architecture is not None else Architecture(num_classes=1)
    with torch.device("meta"):
        return count(ADLN(whole).cut(depth))
