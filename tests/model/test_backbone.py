"""Shapes of the stages, and where the stride sits."""

import pytest
import torch

from adln.model.backbone import Bottleneck, Stem, build_stage


def test_stages_lead_from_a_crop_to_2048_channels_at_16x8() -> None:
    x = torch.rand(1, 3, 256, 128)
    x = Stem(1e-5).eval()(x)
    shapes = [tuple(x.shape[1:])]
    for number in (1, 2, 3, 4):
        x = build_stage(number, "3x3", 1e-5).eval()(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(64, 64, 32), (256, 64, 32), (512, 32, 16), (1024, 16, 8), (2048, 16, 8)]


def test_stem_applies_relu() -> None:
    stem = Stem(1e-5)
    with torch.no_grad():
        stem.bn1.bias.fill_(-100.0)
    assert (stem(torch.rand(2, 3, 32, 32)) == 0).all()


@pytest.mark.parametrize(("position", "strides"), [("3x3", (1, 2)), ("1x1", (2, 1))])
def test_stride_sits_where_the_weights_expect_it(position, strides) -> None:  # type: ignore[no-untyped-def]
    block = Bottleneck(8, 16, stride=2, stride_position=position, bn_eps=1e-5)
    assert (block.conv1.stride[0], block.conv2.stride[0]) == strides
    assert block(torch.rand(1, 8, 8, 4)).shape == (1, 16, 4, 2)
