"""The moving average of the weights."""

import torch

from adln.model.network import Architecture, build_network
from adln.training.averaging import averaged_copy


def test_each_step_keeps_its_share_of_weights_and_statistics() -> None:
    network = build_network(Architecture(num_classes=3, exits=(1,)), seed=0)
    average = averaged_copy(network, 0.75)
    names = [name for name, value in network.state_dict().items() if value.is_floating_point()]
    expected: dict[str, torch.Tensor] = {}
    for step in range(3):
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name in names:
                    value.add_(step + 1.0)
                    old = expected.get(name)
                    expected[name] = value.clone() if old is None else 0.75 * old + 0.25 * value
        average.update_parameters(network)
    got = average.module.state_dict()
    for name in names:
        torch.testing.assert_close(got[name], expected[name])


def test_the_average_is_not_trained() -> None:
    network = build_network(Architecture(num_classes=3, exits=(1,)), seed=0)
    average = averaged_copy(network, 0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert any(parameter.requires_grad for parameter in network.parameters())
