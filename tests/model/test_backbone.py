"""Shapes of the stages, and where the stride sits."""

import pytest
import torch

from adln.model.backbone import Bottleneck, HalfInstanceNorm, Stem, build_stage
from adln.model.network import Architecture, build_network


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


@pytest.mark.parametrize("training", [True, False])
def test_half_of_the_channels_are_normalised_within_each_crop(training: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = HalfInstanceNorm(6).train(training)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.copy_(0.5 + torch.rand(6, generator=generator))
    usual = torch.nn.BatchNorm2d(6).train(training)
    usual.load_state_dict(norm.state_dict())
    maps = torch.randn(4, 6, 5, 3, generator=generator)
    variances, means = torch.var_mean(maps, dim=(2, 3), keepdim=True, correction=0)
    within = (maps - means) / (variances + norm.eps).sqrt()
    within = within * norm.weight[:, None, None] + norm.bias[:, None, None]
    got = norm(maps)
    torch.testing.assert_close(got[:, :3], within[:, :3])
    torch.testing.assert_close(got[:, 3:], usual(maps)[:, 3:])
    for name, value in usual.state_dict().items():
        assert torch.equal(value, norm.state_dict()[name]), name
    (got * maps).sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.abs().min() > 0


def test_only_the_first_norm_of_each_block_of_stages_1_and_2_is_one() -> None:
    form = Architecture(num_classes=2, exits=(1, 4), instance_norm=True)
    with torch.device("meta"):
        network = build_network(form, seed=0)
        plain = build_network(Architecture(num_classes=2, exits=(1, 4)), seed=0)
    names = [name for name, one in network.named_modules() if isinstance(one, HalfInstanceNorm)]
    first, second = ([f"stages.{s}.{b}.bn1" for b in range(n)] for s, n in ((1, 3), (2, 4)))
    assert names == first + second
    assert network.state_dict().keys() == plain.state_dict().keys()  # weights fit both
